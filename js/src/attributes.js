// How attributes get into models: what the page sets is noted, what the server says is shown as
// the model's shadow tells (see shadow.js).
//
// What handlers set while we apply something is a reaction to what the server said, not a
// change that the page's user made, unless it is saved.
import Backbone from 'backbone';
import {extend, guard, has, isObject, override} from './util.js';
import {Shadow, same} from './shadow.js';

var reacting = 0, births = null, prepared = null, arriving = new Map();

// What every object has. Before Backbone 1.3 a model's constructor loses attributes of that name.
var INHERITED = Object.getOwnPropertyNames(Object.prototype);

// What `Backbone.Model.prototype.set` was before it was ours.
var plainSet;

export function shadowOf(model) {
  return model._backendShadow || (model._backendShadow = new Shadow());
}

// The rev last applied to a model, or null where it says nothing about this epoch.
export function revOf(model, epoch) {
  var shadow = model._backendShadow;
  return shadow ? shadow.revOf(epoch) : null;
}

// Has the page changes of this model that the server has not answered?
export function isEdited(model) {
  return !!model._backendShadow && model._backendShadow.isEdited();
}

// Runs what reacts to the server.
export function react(fn) {
  reacting++;
  try { return fn(); } finally { reacting--; }
}

// What is set next comes from the server. `arrival` is as in `Shadow.say`, with the `row` alone
// where the page's own attributes may be set with it.
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
    if (done) shadowOf(this).edit(Object.keys(attrs), before, this.attributes);
    return done;
  };
}

// A `save` validates. What has a request is its answer, and what merges loads data.
function isEdit(options) {
  if (!options) return !reacting;
  return !options.xhr && !options.merge && !options.synced && (!reacting || !!options.validate);
}

function absorb(model, attrs, arrival, options) {
  var row = arrival.row || attrs, show;
  show = shadowOf(model).say(row, extend({asked: attrs}, arrival), model.attributes);
  var gone = show.drop.filter(function(name) { return name !== model.idAttribute; });
  return change(model, show.set, gone, options);
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

// A fetch of the page's finds nothing newer than is known: what it has changed before, and not
// saved, is over all the same.
export function revert(model, since, options) {
  var shadow = model._backendShadow;
  if (!shadow || !shadow.sent || !shadow.isEdited()) return;
  absorb(model, shadow.sent, {whole: true, since: since}, options);
}

// Saving
// ------

// A save begins, which sends `attrs`.
export function begin(model, request, attrs, wait) {
  shadowOf(model).begin(request, attrs, wait, request.method === 'patch', model.attributes);
}

// A model turns out to be the same as another one, which goes.
export function inherit(model, other) {
  var shadow = shadowOf(model), twin = shadowOf(other);
  shadow.inherit(twin);
  display(model, shadow.inheritEdits(twin));
}

// A save is over. When it was refused, what the server said meanwhile comes back.
export function end(model, request, refused) {
  display(model, shadowOf(model).end(request, refused, model.attributes));
}

function display(model, show) {
  if (show.drop.length || Object.keys(show.set).length) {
    react(function() { change(model, show.set, show.drop, {synced: true}); });
  }
}
