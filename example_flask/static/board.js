// The board in the browser: collections that follow the server, and views that follow them.
//
// Nothing in here knows of sockets. `backend: {name, channel}` sends what a collection saves to the
// server, `bindBackend()` makes it follow what everybody else changes there, and the views listen to
// its `add`, `change` and `remove` events, as in any Backbone application.

(function() {
  'use strict';

  Backbone.io.connect();

  var room = document.body.dataset.room;

  // Data
  // ----

  // Newest first; what is still on its way to the server has no id yet and comes before all.
  var Notes = Backbone.Collection.extend({
    comparator: function(note) {
      return note.isNew() ? -Infinity : -note.id;
    },
    initialize: function() {
      this.bindBackend();
      this.on('change:id', function() { this.sort(); });
    }
  });

  // One collection for each room: channels share the connection and do not mix.
  var rooms = {};
  document.querySelectorAll('.count').forEach(function(badge) {
    var id = badge.dataset.room;
    var notes = rooms[id] = new Notes([], {backend: {name: 'notes', channel: id}});

    notes.on('update reset change:done', function() {
      var open = notes.where({done: false}).length;
      badge.textContent = open || '';
      badge.title = open ? open + ' open' : '';
    });
  });
  var notes = rooms[room];
  var people = new Backbone.Collection([], {backend: {name: 'people', channel: room}}).bindBackend();

  // Views
  // -----

  function clone(id) {
    return document.getElementById(id).content.firstElementChild.cloneNode(true);
  }

  // Tells what went wrong. `response` is what the server's layers raised.
  function complain(response) {
    $('#toast').text(response.error.message).prop('hidden', false);
    clearTimeout(complain.timer);
    complain.timer = setTimeout(function() { $('#toast').prop('hidden', true); }, 8000);
  }

  function shortTime(iso) {
    var date = new Date(iso), today = date.toDateString() === new Date().toDateString();
    return date.toLocaleString([], today ? {timeStyle: 'short'} : {dateStyle: 'medium'});
  }

  var NoteView = Backbone.View.extend({
    events: {
      'change .done': 'toggle',
      'click .edit': 'edit',
      'click .delete': 'remove_',
      'submit .editing': 'save',
      'click .cancel': 'close',
      'keydown .editing': 'key'
    },

    initialize: function() {
      this.setElement(clone('note'));
      this.listenTo(this.model, 'change', this.changed);
      this.render();
    },

    // Text is set as text: what people write is never markup.
    render: function() {
      var note = this.model.attributes;
      this.$('.text').text(note.text).attr('id', 'text-' + this.model.cid);
      this.$('.author').text(note.author || 'sending…');
      this.$('.editor').text(note.editor ? 'edited by ' + note.editor : '');
      this.$('.done').prop('checked', note.done);
      this.$('time').attr('datetime', note.created).text(note.created ? shortTime(note.created) : '');
      this.$('.actions').children().attr('aria-describedby', 'text-' + this.model.cid);
      this.$('.actions :input').prop('disabled', this.model.isNew());
      this.$el.attr('data-hue', note.hue).toggleClass('is-done', !!note.done)
        .toggleClass('is-pending', this.model.isNew());
      return this;
    },

    // `synced`: somebody else did it.
    changed: function(note, options) {
      this.render();
      if (options.synced) this.shine();
      if (options.synced && this.form && note.hasChanged('text')) this.meanwhile(note.attributes);
    },

    shine: function() {
      var el = this.el;
      el.classList.remove('is-fresh');
      requestAnimationFrame(function() { el.classList.add('is-fresh'); });
    },

    // `patch` sends only what has changed, so that two people can change two things of one note;
    // `wait` shows it when the server has accepted it.
    toggle: function() {
      this.model.save({done: this.$('.done').prop('checked')}, {
        patch: true,
        wait: true,
        error: function(note, response) { this.render(); complain(response); }.bind(this)
      });
    },

    remove_: function() {
      this.model.destroy({wait: true, error: function(note, response) { complain(response); }});
    },

    // Edit in place. The form stays as it is, whatever others do to the note meanwhile.
    edit: function() {
      this.was = this.model.get('text');
      this.form = clone('editor');
      var input = this.form.querySelector('textarea');
      input.value = this.was;
      input.id = 'edit-' + this.model.cid;
      this.form.querySelector('label').htmlFor = input.id;
      this.$el.addClass('is-editing').prepend(this.form);
      input.focus();
    },

    // `was` is an option of our own: it travels with the request, and the server refuses to
    // overwrite words that we have not seen.
    save: function(event) {
      event.preventDefault();
      var view = this, text = this.form.querySelector('textarea').value;
      this.model.save({text: text}, {
        patch: true,
        wait: true,
        was: this.was,
        success: function() { view.close(); },
        error: function(note, response) {
          if (response.error.name === 'Conflict') view.meanwhile(response.error.note);
          else view.problem(response.error.message);
        }
      });
    },

    meanwhile: function(note) {
      this.was = note.text;
      this.problem((note.editor || note.author) + ' has changed it meanwhile, to “' + note.text +
        '”. Saving replaces that.');
    },

    problem: function(message) {
      if (this.form) this.form.querySelector('.error').textContent = message;
    },

    close: function() {
      if (!this.form) return;
      this.form.remove();
      this.form = null;
      this.$el.removeClass('is-editing');
      this.$('.edit').trigger('focus');
    },

    key: function(event) {
      if (event.key === 'Escape') this.close();
      else sendOnEnter(event);
    }
  });

  // All the notes, in the order of the collection.
  var NotesView = Backbone.View.extend({
    initialize: function() {
      this.views = {};
      this.el.replaceChildren();  // what the server painted
      this.collection.each(this.add, this);
      this.listenTo(this.collection, 'add', this.add);
      this.listenTo(this.collection, 'remove', this.drop);
      this.listenTo(this.collection, 'sort', this.place);
      this.listenTo(this.collection, 'reset', this.refill);
    },

    add: function(note, collection, options) {
      var view = this.views[note.cid] = new NoteView({model: note});
      this.place();
      if (options && options.synced) view.shine();
    },

    drop: function(note) {
      var view = this.views[note.cid], focused = view.el.contains(document.activeElement);
      delete this.views[note.cid];
      view.remove();
      if (focused) this.el.focus();  // or the keyboard would be nowhere
    },

    refill: function(collection, options) {
      options.previousModels.forEach(this.drop, this);
      collection.each(this.add, this);
    },

    // Moves only what is not in its place, so that nobody loses the focus.
    place: function() {
      var el = this.el, views = this.views;
      this.collection.filter(function(note) { return views[note.cid]; }).forEach(function(note, i) {
        var item = views[note.cid].el;
        if (el.children[i] !== item) el.insertBefore(item, el.children[i] || null);
      });
    }
  });

  // Writes a new note. It is on the board at once, pale until the server has it; without a
  // connection that is when the connection is back.
  var Composer = Backbone.View.extend({
    events: {'submit': 'add', 'keydown textarea': sendOnEnter, 'input': 'clear'},

    add: function(event) {
      event.preventDefault();
      var view = this, input = this.$('textarea'), text = input.val();
      input.val('').trigger('focus');
      this.clear();
      notes.create({text: text, done: false}, {
        error: function(note, response) {
          notes.remove(note);
          view.fail(text, response.error);
        }
      });
    },

    // `fields` is there when it was the server's validation that said no.
    fail: function(text, error) {
      var input = this.$('textarea'), fields = error.fields || {};
      input.attr('aria-invalid', true);
      if (!input.val()) input.val(text);  // nobody has to write it again
      this.$('.error').text(fields.text ? fields.text.join(' ') : error.message);
    },

    clear: function() {
      this.$('textarea').removeAttr('aria-invalid');
      this.$('.error').text('');
    }
  });

  function sendOnEnter(event) {
    if (event.key !== 'Enter' || event.shiftKey || event.originalEvent.isComposing) return;
    event.preventDefault();
    event.target.form.requestSubmit();
  }

  // Who is here; somebody with two windows is one.
  var PeopleView = Backbone.View.extend({
    initialize: function() {
      this.listenTo(this.collection, 'update reset', this.render);
    },

    render: function() {
      var named = this.collection.filter(function(person) { return person.get('name'); });
      var guests = this.collection.length - named.length;
      named = _.uniq(named, function(person) { return person.get('name'); });
      this.$el.empty().append(named.map(function(person) {
        var name = person.get('name');
        return $('<li>').append(
          $('<span class="avatar" aria-hidden="true">').attr('data-hue', person.get('hue'))
            .attr('title', name).text(Array.from(name)[0].toUpperCase()),
          $('<span class="hidden">').text(name)
        );
      }));
      if (guests) this.$el.append($('<li class="guests">').text(guests + (guests > 1 ? ' guests' : ' guest')));
    }
  });

  // Connection and news
  // -------------------

  function status(state, text) {
    $('#status').attr('data-state', state).text(text);
  }
  notes.on('backend:connect', function() { status('live', 'Live'); });
  notes.on('backend:disconnect', function() {
    status('offline', 'Offline: changes are sent when the connection is back');
  });
  notes.on('error', function(object, response) {
    if (object === notes) complain(response);  // we may not listen or read
  });

  // For those who do not see the cards light up.
  notes.on('backend:create', function(note) { $('#news').text(note.author + ' wrote: ' + note.text); });
  notes.on('backend:update', function(note) { $('#news').text('Changed: ' + note.text); });
  notes.on('backend:delete', function(note) { $('#news').text('Deleted: ' + note.text); });

  new Composer({el: '#composer'});
  new PeopleView({el: '#people', collection: people});
  _.invoke(rooms, 'fetch');
  people.fetch();
  notes.once('sync', function() { new NotesView({el: '#notes', collection: notes}); });
})();
