Backbone.io.connect();

var Tasks = Backbone.Collection.extend({
  backend: 'tasks',
  initialize: function() { this.bindBackend(); }
});

var TaskView = Backbone.View.extend({
  tagName: 'li',
  initialize: function() {
    this.listenTo(this.model, 'change', this.render);
    this.listenTo(this.model, 'remove', this.remove);
  },
  render: function() {
    this.$el.text(this.model.get('title'));
    return this;
  }
});

var tasks = new Tasks();
tasks.on('add', function(task) {
  $('#tasks').append(new TaskView({model: task}).render().el);
});
tasks.fetch();

$('#add').on('submit', function(event) {
  event.preventDefault();
  tasks.create({title: this.title.value});
  this.reset();
});
