// What a page has seen of one channel's changes. Pure: no Backbone, no sockets.
//
// `epoch` names the server's journal, `rev` is the newest change seen in any way, `heard`
// the newest one that came as an event or lies before our listening: each is heard once.
// `from` is the rev from which on nothing was missed and no reset told, `upto` the newest one up to which
// nothing was: from there on a listen resumes. An answer to a request of ours may come when
// we do not listen, and is newer than what we miss; `own` has the rev of the last such change
// of each model: nothing that was missed and is not newer is news.
//
// ### No old over new
//
// An answer shows the store as of its `rev`, and events may have told newer things by
// the time it comes. Two memories prevent that old overwrites new:
//
// Each model carries the `rev` of what was last applied to it (see shadow.js). That keeps
// older events and answers off it and costs nothing once the model is gone.
//
// It says nothing of models deleted meanwhile, nor of objects that do not follow events.
// For them the log holds the changes that were seen while requests are under way, the
// last state of each model, and an answer is brought up to date with what in the log is
// newer. Every answer to a request has a `rev` no older than what the page had seen when
// it first sent it, so changes up to that of the oldest request under way can be
// forgotten, and all of them when there is none.
//
// A change is `{method, model, rev, whole}`; `whole` says that the row has all of its
// attributes. Keys are what `keyOf` makes of ids.
import {extend} from './util.js';

export function History() {
  this.forget();
}

extend(History.prototype, {
  forget: function() {
    this.epoch = null;
    this.rev = this.heard = this.from = this.upto = 0;
    this.own = new Map();
    this.log = new Map();
  },

  // Whether a change that came as an event is news.
  hears: function(rev) {
    if (rev == null) return true;
    if (rev <= this.heard) return false;
    this.heard = rev;
    return true;
  },

  // We listen, and have heard all up to a rev.
  resume: function(rev) {
    this.rev = this.heard = this.upto = rev;
    this.own.clear();
  },

  // Whether an answer has told this, or something newer, of a model while we did not listen.
  answered: function(key, rev) {
    return key != null && this.own.get(key) >= rev;
  },

  // Takes note of a change; with `keep`, which is for while requests are under way, its
  // content too. `key` is null for a model without an id. `listening` tells whether all
  // that is older was heard.
  record: function(change, key, keep, listening) {
    if (change.rev == null) return;
    if (change.rev > this.rev) this.rev = change.rev;
    if (change.method === 'reset') this.from = change.rev;
    if (listening) this.upto = this.rev;
    else if (key) this.own.set(key, change.rev);
    if (!keep) return;
    var method = change.method, log = this.log, old;
    if (method === 'reset') {
      log.clear();
      log.set('reset', change);
    } else if (method === 'create' || method === 'update' || method === 'delete') {
      key = key || 'rev' + change.rev;
      old = log.get(key);
      if (old && old.rev > change.rev) return;
      if (old && old.method !== 'delete' && method !== 'delete') {
        change = {
          method: old.method, model: merged(old.model, change), rev: change.rev,
          whole: old.whole || change.whole
        };
      }
      // Deleted and added again, a key goes to the end: the log stays in order.
      log.delete(key);
      log.set(key, change);
    }
  },

  // Forgets changes up to a rev; all of them without one.
  trim: function(rev) {
    var log = this.log;
    if (rev == null) return log.clear();
    for (var key; log.size; log.delete(key)) {
      key = log.keys().next().value;
      if (log.get(key).rev > rev) return;
    }
  },

  // The changes after a rev, each with its key, in order.
  later: function(rev) {
    var found = [];
    if (rev == null || rev >= this.rev) return found;
    this.log.forEach(function(change, key) {
      if (change.rev > rev) found.push([key, change]);
    });
    return found;
  },

  // The rows of a list as of `rev`, brought to the present: `[{key, row, rev, whole}]`, in
  // order. `key(row)` tells a row's key, `had(key)` whether the list had that model before
  // it was asked for: what was created since is added only if it was. `convert`, if any, makes
  // of the row of a change what the rows of the list look like; such a row is taken as whole.
  present: function(rows, rev, whole, key, had, convert) {
    var entries = [], at = new Map(), make = convert || function(row) { return row; };
    var add = function(row, change) {
      return convert ? convert(change.model) : merged(row, change);
    };
    var fill = function(list, rev, whole) {
      at.clear();
      entries = list.map(function(row, i) {
        var name = key(row);
        if (name) at.set(name, i);
        return {key: name, row: row, rev: rev, whole: whole};
      });
    };
    fill(rows, rev, !!whole);
    this.later(rev).forEach(function(item) {
      var name = item[0], change = item[1], i = at.get(name), old = entries[i];
      if (change.method === 'reset') {
        if (Array.isArray(change.model)) fill(change.model.map(make), change.rev, !!change.whole);
      } else if (change.method === 'delete') {
        if (old) entries[i] = null;
        at.delete(name);
      } else if (old) {
        old.row = add(old.row, change);
        old.rev = change.rev;
        old.whole = old.whole || !!change.whole;
      } else if (change.method === 'create' && had(name)) {
        at.set(name, entries.length);
        entries.push({key: name, row: make(change.model), rev: change.rev, whole: !!change.whole});
      }
    });
    return entries.filter(Boolean);
  },

  // The change of one model that is newer than an answer of `rev`, or null. There is at most
  // one, since the log merges; a reset that brought all rows told what it is, or that it is gone.
  // `keyOf(row)` tells a row's key.
  newer: function(key, rev, keyOf) {
    if (!key || rev == null) return null;
    var change = this.log.get(key), reset = this.log.get('reset');
    if (reset && reset.rev > rev && Array.isArray(reset.model)) change = within(reset, key, keyOf, change);
    return change && change.rev > rev ? change : null;
  },

  // The answer `{attrs, rev, whole}` to a request for one model, parsed already, brought to
  // the present: the same with what changed since, and `gone` if it was deleted.
  renew: function(answer, key, keyOf, parse) {
    var change = this.newer(key, answer.rev, keyOf);
    if (!change) return extend({gone: false}, answer);
    if (change.method === 'delete') return extend({}, answer, {rev: change.rev, gone: true});
    return {
      attrs: merged(answer.attrs, {model: parse(change.model), whole: change.whole}),
      rev: change.rev, whole: answer.whole || !!change.whole, gone: false
    };
  }
});

// What a reset, and a change after it, if any, told of one model.
function within(reset, key, keyOf, change) {
  var row = reset.model.filter(function(item) { return keyOf(item) === key; })[0];
  if (!row) return change || {method: 'delete', model: null, rev: reset.rev};
  if (!change) return {method: 'update', model: row, rev: reset.rev, whole: reset.whole};
  if (change.method === 'delete') return change;
  return extend({}, change, {model: merged(row, change), whole: reset.whole || change.whole});
}

// A row with a change on top.
function merged(row, change) {
  return change.whole ? change.model : extend({}, row, change.model);
}
