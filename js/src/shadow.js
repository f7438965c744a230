// What the server said of a model, beside what the page has made of it.
//
// A model that came from the server has a shadow: the `rev` of what was last applied to it
// and the attributes as they were `sent`. With them
//
//  * an older event or answer is kept off (`isNewer`);
//  * an attribute that the server sent before and sends no more goes away with a row that
//    is `whole`, while those that the page alone has set stay;
//  * a newer change of the page's own is not overwritten. `edits` are attributes that the
//    page has changed, each with the time (a count) at which it did; `requests` are saves
//    that were not answered yet. What the server says of such an attribute meanwhile is
//    `withheld`: it is in `sent`, and comes back when the save is refused.
//
// What handlers set while we apply something is a reaction to what the server said, not a
// change that the page's user made, unless it is saved.
import Backbone from 'backbone';
import {extend, guard, has, isObject, override} from './util.js';

var time = 0, reacting = 0, births = null, prepared = null, arriving = new Map();

// What every object has. Before Backbone 1.3 a model's constructor loses attributes of that name.
var INHERITED = Object.getOwnPropertyNames(Object.prototype);

// What `Backbone.Model.prototype.set` was before it was ours.
var plainSet;

function Shadow() {
  this.epoch = null;
  this.rev = 0;
  this.sent = this.edits = this.withheld = this.requests = null;
}

function shadowOf(model) {
  return model._backendShadow || (model._backendShadow = new Shadow());
}

// A moment to compare edits with.
export function now() {
  return ++time;
}

// Runs what reacts to the server.
export function react(fn) {
  reacting++;
  try { return fn(); } finally { reacting--; }
}

// Revs
// ----

export function stamp(model, epoch, rev) {
  if (rev == null) return;
  var shadow = shadowOf(model);
  shadow.epoch = epoch;
  shadow.rev = rev;
}

// The rev last applied to a model, or null where it says nothing about this epoch.
export function revOf(model, epoch) {
  var shadow = model._backendShadow;
  return shadow && shadow.epoch === epoch && shadow.epoch !== null ? shadow.rev : null;
}

// Setting
// -------

// Sets what came from the server. `arrival` is `{whole, since, request, row, answered}`: whether the row
// is whole, the time from which on edits are newer than it (0 for an event: all are), the
// request that it answers, the row alone where the page's own attributes are with it, and the
// answer as it came where the row is newer than that.
export function expect(model, arrival) {
  arriving.set(model, arrival);
}

export function forget(model) {
  arriving.delete(model);
}

// Collects the models that are made while a function runs, with the attributes they got.
export function watch(fn) {
  var before = births, made = births = new Map();
  try { fn(); } finally { births = before; }
  return made;
}

// Makes `set` keep shadows. `born` is called with each new model and its options before its
// first attributes are set, `follows(model)` tells whether a backend keeps it.
export function install(born, follows) {
  plainSet = Backbone.Model.prototype.set;

  var prepare = Backbone.Collection.prototype._prepareModel;
  Backbone.Collection.prototype._prepareModel = function(row) {
    prepared = isObject(row) && !(row instanceof Backbone.Model) ? row : null;
    try { return prepare.apply(this, arguments); } finally { prepared = null; }
  };

  Backbone.Model.prototype.set = function(key, value, options) {
    var attrs = key, many = key == null || typeof key === 'object', arrival;
    if (many) options = value; else (attrs = {})[key] = value;
    if (attrs instanceof Backbone.Model) attrs = attrs.attributes;

    // A model's constructor sets its first attributes before it has previous ones.
    if (this._previousAttributes === undefined) {
      var row = prepared;
      prepared = null; // `born` may make other models
      if (row && this.parse === Backbone.Model.prototype.parse) {
        INHERITED.forEach(function(name) { if (has(row, name)) attrs[name] = row[name]; });
      }
      born(this, options);
      if (births) births.set(this, attrs);
      return plainSet.apply(this, arguments);
    }
    arrival = arriving.get(this);
    if (arrival && isObject(attrs)) {
      arriving.delete(this);
      return absorb(this, attrs, arrival, options);
    }
    if (!isObject(attrs) || !isEdit(options) || !follows(this)) return plainSet.apply(this, arguments);
    var before = extend({}, this.attributes), done = plainSet.apply(this, arguments);
    if (done) edited(this, attrs, before);
    return done;
  };
}

// A `save` validates. What has a request is its answer, and what merges loads data.
function isEdit(options) {
  if (!options) return !reacting;
  return !options.xhr && !options.merge && !options.synced && (!reacting || !!options.validate);
}

function edited(model, attrs, before) {
  var shadow = shadowOf(model);
  Object.keys(attrs).forEach(function(key) {
    var value = model.attributes[key];
    if (same(value, before[key])) return;
    shadow.edits = shadow.edits || {};
    var back = !shadow.requests && shadow.sent && has(shadow.sent, key) && same(value, shadow.sent[key]);
    if (back) delete shadow.edits[key]; else shadow.edits[key] = now();
  });
}

function absorb(model, attrs, arrival, options) {
  var shadow = shadowOf(model), row = arrival.row || attrs, sent = shadow.sent, kept = {}, gone = [];
  // With `wait` Backbone adds what was saved. Of what the server has answered, a newer row decides.
  var given = Object.keys(attrs).filter(function(key) {
    return has(row, key) || !(arrival.answered && has(arrival.answered, key));
  });
  given.forEach(function(key) {
    if (!withhold(shadow, key, arrival)) kept[key] = attrs[key];
  });
  if (arrival.whole && sent) {
    // What was withheld, and what an answer had that is older than this row: `sent` has neither.
    gone = Object.keys(extend({}, sent, shadow.withheld, arrival.answered)).filter(function(key) {
      return given.indexOf(key) < 0 && has(model.attributes, key) && key !== model.idAttribute &&
        !withhold(shadow, key, arrival);
    });
  }
  var done = change(model, kept, gone, options);
  if (done) shadow.sent = arrival.whole || !sent ? row : extend({}, sent, row);
  return done;
}

// Is there a newer change of the page's own? Then the server's value is withheld, else that
// of the page is over.
function withhold(shadow, key, arrival) {
  var newer = isPending(shadow, key, arrival) ||
    !!shadow.edits && has(shadow.edits, key) && shadow.edits[key] > arrival.since;
  if (newer) (shadow.withheld = shadow.withheld || {})[key] = true;
  else settleKey(shadow, key);
  return newer;
}

function isPending(shadow, key, arrival) {
  return !!shadow.requests && shadow.requests.some(function(request) {
    var other = arrival.request;
    return request !== other && has(request.covers, key) && !(other && other.at > request.at);
  });
}

function settleKey(shadow, key) {
  if (shadow.edits) delete shadow.edits[key];
  if (shadow.withheld) delete shadow.withheld[key];
}

// Sets some attributes and takes others away as one change. Attributes whose names have
// spaces are set without events of their own: Backbone would split them, and "x destroy"
// is no reason to destroy the model.
function change(model, attrs, gone, options) {
  var odd = Object.keys(attrs).concat(gone).some(function(key) { return /\s/.test(key); });
  var restore = odd ? override(model, 'trigger', quiet(model.trigger)) : null;
  try {
    return gone.length ? replace(model, attrs, gone, options) : plainSet.call(model, attrs, options);
  } finally {
    if (restore) restore();
  }
}

function quiet(trigger) {
  return function(name) {
    return /^change:.*\s/.test(name) ? this : trigger.apply(this, arguments);
  };
}

// Two calls of `set` within one change, as Backbone does it with those in handlers.
function replace(model, attrs, gone, options) {
  var outer = !model._changing, drop = {}, done;
  gone.forEach(function(key) { drop[key] = undefined; });
  if (outer) {
    model._changing = true;
    model._previousAttributes = extend({}, model.attributes);
    model.changed = {};
  }
  done = plainSet.call(model, attrs, options);
  if (done) plainSet.call(model, drop, extend({}, options, {unset: true, validate: false}));
  if (!outer) return done;
  while (model._pending) {
    model._pending = false;
    model.trigger('change', model, options || {});
  }
  model._changing = false;
  return done;
}

// Notes what the server sent of a model that was made of it. `row` is the raw row: what is
// in the attributes and not in it comes from the class's defaults, or from its `parse`.
export function made(model, attrs, row) {
  var parses = model.parse !== Backbone.Model.prototype.parse, defaults = model.defaults, sent = {};
  if (parses && typeof defaults === 'function') defaults = guard(function() { return model.defaults(); });
  Object.keys(attrs).forEach(function(key) {
    var came = has(row, key) && (!parses || same(attrs[key], row[key]));
    if (came || parses && !(defaults && has(defaults, key))) sent[key] = attrs[key];
  });
  shadowOf(model).sent = sent;
}

// Has the page changes of this model that the server has not answered?
export function isEdited(model) {
  var shadow = model._backendShadow;
  var some = function(keys) { return Object.keys(keys || {}).length > 0; };
  return !!shadow && (some(shadow.edits) || (shadow.requests || []).some(function(request) {
    return some(request.covers);
  }));
}

// Saving
// ------

// A save begins: it covers what the page has changed of what it sends, `attrs`. With `wait`
// these are not set before the answer, so it covers no more than what nobody has saved yet.
export function begin(model, request, attrs, wait) {
  var shadow = shadowOf(model), edits = shadow.edits || {};
  request.at = now();
  request.covers = {};
  // An attribute that was taken away is sent by being left out.
  Object.keys(request.method === 'patch' ? attrs : extend({}, attrs, edits)).forEach(function(key) {
    var differs = !wait && shadow.sent && !same(model.attributes[key], shadow.sent[key]);
    var edited = has(edits, key) && !(wait && isPending(shadow, key, {}));
    if (edited || differs) request.covers[key] = true;
  });
  (shadow.requests = shadow.requests || []).push(request);
}

// A save is over. When it was refused, what the server said meanwhile comes back.
export function end(model, request, refused) {
  var shadow = model._backendShadow, rest, back = {}, gone = [];
  if (!shadow || !shadow.requests || shadow.requests.indexOf(request) < 0) return;
  rest = shadow.requests.filter(function(other) { return other !== request; });
  shadow.requests = rest.length ? rest : null;
  Object.keys(request.covers).forEach(function(key) {
    var later = shadow.edits && shadow.edits[key] > request.at;
    if (later || isPending(shadow, key, {})) return;
    if (refused && shadow.withheld && has(shadow.withheld, key)) {
      if (has(shadow.sent, key)) back[key] = shadow.sent[key]; else gone.push(key);
    }
    settleKey(shadow, key);
  });
  if (gone.length || Object.keys(back).length) {
    react(function() { change(model, back, gone, {synced: true}); });
  }
}

function same(one, other) {
  if (one === other || one !== one && other !== other) return true;
  if (!one || !other || typeof one !== 'object' || typeof other !== 'object') return false;
  try { return JSON.stringify(one) === JSON.stringify(other); } catch (cycle) { return false; }
}
