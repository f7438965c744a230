// The board in the browser. Nothing in here knows of sockets: `backend` sends what a collection
// saves to the server, and `bindBackend()` makes it follow what everybody else changes there.
Backbone.io.connect();
// Newest first; what is still on its way to the server has no id yet and comes before all.
const Notes = Backbone.Collection.extend({
  comparator: note => note.isNew() ? -Infinity : -note.id,
  initialize() { this.bindBackend().on('change:id', () => this.sort()); }
});

// One collection for each room: channels share the connection and do not mix.
const rooms = {}, room = document.body.dataset.room;
$('.count').each((i, badge) => {
  const id = badge.dataset.room, notes = rooms[id] = new Notes([], {backend: {name: 'notes', channel: id}});
  notes.on('update reset change:done', () => $(badge).text(notes.where({done: false}).length || ''));
});
const notes = rooms[room];
const people = new Backbone.Collection([], {backend: {name: 'people', channel: room}}).bindBackend();

// `response` is what the server's layers raised.
const hide = _.debounce(() => $('#toast').prop('hidden', true), 8000);
function complain(model, response) {
  $('#toast').text(response.error.message).prop('hidden', false);
  hide();
}
const clone = id => $(document.getElementById(id).content.firstElementChild.cloneNode(true));
function sendOnEnter(event) {
  if (event.key !== 'Enter' || event.shiftKey || event.originalEvent.isComposing) return;
  event.preventDefault();
  event.target.form.requestSubmit();
}

const NoteView = Backbone.View.extend({
  events: {'change .done': 'toggle', 'click .edit': 'edit', 'click .delete': 'destroy',
    'submit .editing': 'save', 'click .cancel': 'close', 'keydown .editing': 'key'},
  initialize() {
    this.setElement(clone('note'));
    this.listenTo(this.model, 'change', this.changed);
    this.render();
  },
  render() {  // as text: what people write is never markup
    const note = this.model.attributes, isNew = this.model.isNew(), at = new Date(note.at || Date.now());
    this.$('.text').text(note.text).attr('id', 'text-' + this.model.cid);
    this.$('.author').text(note.author || 'sending…');
    this.$('.editor').text(note.editor ? 'edited by ' + note.editor : '');
    this.$('.done').prop('checked', note.done);
    this.$('time').text(at.toLocaleString([], {dateStyle: 'medium', timeStyle: 'short'}));
    this.$('.actions').children().attr('aria-describedby', 'text-' + this.model.cid);
    this.$('.actions :input').prop('disabled', isNew);
    this.$el.attr('data-hue', note.hue).toggleClass('is-done', !!note.done).toggleClass('is-pending', isNew);
  },
  changed(note, options) {
    this.render();
    if (!options.synced) return;  // else somebody else did it
    this.shine();
    if (this.form && note.hasChanged('text')) this.meanwhile(note.attributes);
    else this.version = note.get('version');
  },
  shine() {
    this.$el.removeClass('is-fresh').outerWidth();  // a look at its width begins the animation anew
    this.$el.addClass('is-fresh');
  },
  // `patch` sends what has changed, so that two people can change two things of one note; `wait`
  // shows it when the server has accepted it.
  toggle() {
    const error = (note, response) => { complain(note, response); this.render(); };
    this.model.save({done: this.$('.done').prop('checked')}, {patch: true, wait: true, error});
  },
  destroy() { this.model.destroy({wait: true, error: complain}); },
  edit() {  // in place; the form stays as it is, whatever others do meanwhile
    this.version = this.model.get('version');
    this.form = clone('editor').prependTo(this.$el.addClass('is-editing'));
    this.form.find('textarea').val(this.model.get('text')).attr('id', 'edit-' + this.model.cid).trigger('focus');
    this.form.find('label').attr('for', 'edit-' + this.model.cid);
  },
  save(event) {
    event.preventDefault();
    const error = (note, {error}) => error.model ? this.meanwhile(error.model) : this.problem(error.message);
    const options = {patch: true, wait: true, success: () => this.close(), error};
    this.model.save({text: this.form.find('textarea').val(), version: this.version}, options);
  },
  meanwhile(note) {  // somebody else has saved this text
    this.version = note.version;
    this.problem(`${note.editor} has changed it meanwhile, to “${note.text}”. Saving replaces that.`);
  },
  problem(message) { this.form.find('.error').text(message); },
  close() {
    this.form.remove();
    this.form = null;
    this.$el.removeClass('is-editing').find('.edit').trigger('focus');
  },
  key(event) { return event.key === 'Escape' ? this.close() : sendOnEnter(event); }
});

// The notes in the order of the collection; moves only what is not in its place, for the focus.
const views = {}, list = $('#notes')[0];
function show() {
  _.each(_.omit(views, notes.map(note => note.cid)), (view, cid) => {
    const focused = view.el.contains(document.activeElement);
    view.remove();
    delete views[cid];
    if (focused) list.focus();  // or the keyboard would be nowhere
  });
  notes.each((note, i) => {
    const {el} = views[note.cid] = views[note.cid] || new NoteView({model: note});
    if (list.children[i] !== el) list.insertBefore(el, list.children[i] || null);
  });
}
notes.once('sync', () => {
  list.replaceChildren();  // what the server painted
  show();
  notes.on('update sort reset', show);
  notes.on('add', (note, notes, options) => { show(); if (options.synced) views[note.cid].shine(); });
});

// Writes a new note: on the board at once, pale until the server has it, offline too.
const composer = $('#composer').on({submit: add, input: clear}).on('keydown', 'textarea', sendOnEnter);
function clear() { composer.find('textarea').removeAttr('aria-invalid').end().find('.error').text(''); }
function add(event) {
  event.preventDefault();
  const field = composer.find('textarea'), text = field.val();
  clear(field.val('').trigger('focus'));
  notes.create({text, done: false}, {error(note, response) {
    notes.remove(note);
    field.attr('aria-invalid', true).val(field.val() || text);  // nobody has to write it again
    composer.find('.error').text(response.error.message);
  }});
}

// Who is here; somebody with two windows is one.
people.on('update reset', () => {
  const guests = people.where({name: null}).length, named = _.uniq(people.filter('name'), one => one.get('name'));
  $('#people').html(named.map(one => {
    const name = one.get('name'), avatar = $('<span class="avatar" aria-hidden="true">').attr('data-hue', one.get('hue'));
    return $('<li>').append(avatar.text([...name][0].toUpperCase()), $('<span class="hidden">').text(name));
  }));
  if (guests) $('<li class="guests">').text(guests + (guests > 1 ? ' guests' : ' guest')).appendTo('#people');
});

const status = (state, text) => $('#status').attr('data-state', state).text(text);
const announce = text => $('#news').text(text);  // for those who do not see the cards light up
notes.on({
  'backend:connect': () => status('live', 'Live'),
  'backend:disconnect': () => status('offline', 'Offline: changes are sent when the connection is back'),
  'backend:create': note => announce(`${note.author} wrote: ${note.text}`),
  'backend:update': note => announce('Changed: ' + note.text),
  'backend:delete': note => announce('Deleted: ' + note.text),
  'error': (object, response) => { if (object === notes) complain(object, response); }
});
_.invoke({...rooms, people}, 'fetch');
