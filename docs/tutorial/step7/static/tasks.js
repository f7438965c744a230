Backbone.io.connect();

var Tasks = Backbone.Collection.extend({
  backend: {name: 'tasks', channel: document.body.dataset.list},
  comparator: 'id',
  initialize: function() { this.bindBackend(); }
});

var TaskView = Backbone.View.extend({
  tagName: 'li',
  template: _.template(
    '<label><input type="checkbox"> <%- title %></label>' +
    '<button aria-label="Delete <%- title %>">Delete</button>'
  ),
  events: {
    'change input': function(event) {
      this.model.save({done: event.target.checked}, {patch: true, wait: true, error: problem});
    },
    'click button': function() {
      this.model.destroy({wait: true, error: problem});
    }
  },
  initialize: function() {
    this.listenTo(this.model, 'change error', this.render);
    this.listenTo(this.model, 'remove', this.remove);
  },
  render: function() {
    this.$el.html(this.template(this.model.attributes)).toggleClass('done', this.model.get('done'));
    this.$('input').prop('checked', this.model.get('done'));
    return this;
  }
});

function problem(model, failure) {
  var fields = failure && failure.error.fields || {};
  $('#problem').text(_.flatten(_.values(fields)).join(', ') || failure.error.message);
}

var tasks = new Tasks();
tasks.on('add', function(task) {
  $('#tasks').append(new TaskView({model: task}).render().el);
});
tasks.on('backend:connect', function() { $('#status').text('live'); });
tasks.on('backend:disconnect', function() { $('#status').text('offline: changes are sent later'); });
tasks.on('error', problem);
tasks.fetch();

$('#add').on('submit', function(event) {
  var form = this;
  event.preventDefault();
  $('#problem').text('');
  tasks.create({title: form.title.value}, {
    wait: true,
    success: function() { form.reset(); }
  });
});
