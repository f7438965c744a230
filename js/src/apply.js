// How changes and answers get into collections and models.
import Backbone from 'backbone';
import {extend, guard, has, override} from './util.js';
import {aside, contents, find, idOf, isCollection, keyOf, modelId, rowKey} from './identity.js';
import {expect, forget, isEdited, made, react, revert, revOf, shadowOf, watch} from './attributes.js';
import {known} from './states.js';
import {refetchLater} from './refetch.js';
import {note} from './trail.js';

// The collection that sets something of the server's at present, and which of its models the
// rows are that it was given.
var feeding = null, laid = new Map();

// Looks models up in collections that have a backend, and leaves the others alone.
export function install() {
  var get = Backbone.Collection.prototype.get;

  Backbone.Collection.prototype.get = function(what) {
    if (!('backend' in this)) return get.apply(this, arguments);
    var model = feeding === this && laid.get(what);
    return model && this._byId[model.cid] === model ? model : find(this, what, feeding === this);
  };
}

// Changes
// -------

// Tells every object here of a change and then applies it to those that are bound, except
// where it came from: `origin` is the request. (The model that was saved may not be the one
// in its collection any more: a fetch with `reset` makes new ones.) Telling comes first, so
// that handlers see what is being changed as it was: those of a delete find the model.
export function receive(subscription, change, origin) {
  var first = subscription.oldest(), history = subscription.history;
  var listening = subscription.state === 'ready', from = (first || origin || {}).object || subscription.any();
  var asks = first || !listening || history.own.size; // else nobody wants to know whose it is
  var key = asks && from ? rowKey(from, change.model) : null;
  if (!origin && history.answered(key, change.rev)) return;
  history.record(change, key, !!first, listening);
  if (!origin) note(subscription, 'event', change.method, subscription.any(), change.model, change.rev);

  var held = new Set();
  react(function() {
    subscription.each(function(object, state) {
      if (origin && (object === origin.object || object === origin.collection)) return;
      if (mayBeEcho(subscription, object, state, change)) held.add(object);
      else tell(subscription, object, change);
    });
    subscription.each(function(object, state) {
      var own = origin && (object === origin.object || object === origin.collection);
      var twin = own && isCollection(object) && find(object, idOf(object, change.model), true);
      if (held.has(object) || own && (!twin || twin === origin.object)) return;
      bring(subscription, object, state, change);
    });
  });
}

function tell(subscription, object, change) {
  subscription.trigger(object, '', change.method, change.model);
  subscription.trigger(object, ':' + change.method, change.model);
}

function bring(subscription, object, state, change) {
  guard(function() {
    var own = state.transform ? extend({}, change, {model: converted(state, change.model)}) : change;
    if (change.method === 'reset') reset(subscription, object, state, own);
    else if (state.bound) apply(subscription, object, own);
  });
}

// What makes of a row of a change what a collection expects, where it is anything but that row.
function conversion(collection) {
  var state = known(collection);
  return state && state.transform ? function(row) { return converted(state, row); } : null;
}

// A row as a collection or model with a `transform` expects it.
function converted(state, row) {
  if (!state || !state.transform || !row) return row;
  if (!Array.isArray(row)) return state.transform(row);
  return row.map(function(item) { return state.transform(item); });
}

// While a collection that only follows creates a model by REST, a model that somebody created
// may be that one, which has no id yet: the change waits for the answer, in `state.held`.
function mayBeEcho(subscription, object, state, change) {
  if (!state.follow || !isCollection(object)) return false;
  var key = rowKey(object, change.model), held = state.held || [];
  var behind = held.some(function(other) { return rowKey(object, other.model) === key; });
  var creates = change.method === 'create' && Array.from(subscription.requests).some(function(request) {
    return request.rest && request.creates && request.collection === object;
  });
  if (behind || creates && !find(object, idOf(object, change.model), true)) {
    state.held = held.concat([change]);
    return true;
  }
  return false;
}

// The answer to such a create is there: what was held back comes now, its own echo untold.
export function unhold(subscription, collection, created) {
  var state = known(collection), held = state && state.held;
  if (!held) return;
  state.held = null;
  react(function() {
    held.forEach(function(change) {
      var id = idOf(collection, change.model);
      var echo = change.method === 'create' && find(collection, id, true) === created;
      if (!echo && mayBeEcho(subscription, collection, state, change)) return;
      if (!echo) tell(subscription, collection, change);
      bring(subscription, collection, state, change);
    });
  });
}

// What `bindBackend` does with a change. `parse` is applied as to a fetched row, and
// `synced: true` tells handlers that the change came from elsewhere.
function apply(subscription, object, change) {
  var method = change.method, options = {parse: true, synced: true}, many = isCollection(object);
  var create = method === 'create', id = idOf(object, change.model), key = keyOf(id), model;
  if (!create && method !== 'update' && method !== 'delete') return;
  // What is created may have no id, where there is no store, or none that can be told yet.
  if (!key && !(create && many)) return;

  model = many ? find(object, id, true) : key === keyOf(object.id) ? object : null;
  if (model ? isOld(subscription, model, change) : !create || !many) return;
  if (!model) {
    add(subscription, object, {key: key, row: change.model, rev: change.rev}, options);
    model = find(object, id, true);
  } else if (method === 'delete') {
    if (many) object.remove(model, options);
    else object.trigger('destroy', object, object.collection, options);
  } else {
    update(model, change, options);
    var by = many && object.comparator;
    if (by && model.hasChanged(typeof by === 'string' ? by : null)) object.sort();
  }
  if (model) shadowOf(model).stamp(subscription.history.epoch, change.rev, change.whole);
}

// Whether a model has been told a change, or a newer one. It leaves each collection that it is in.
function isOld(subscription, model, change) {
  var last = revOf(model, subscription.history.epoch), rev = change.rev;
  return last !== null && rev != null && (change.method === 'delete' ? last > rev : last >= rev);
}

function update(model, change, options) {
  var attrs = model.parse(change.model, options);
  expect(model, {whole: change.whole});
  try { model.set(attrs, options); } finally { forget(model); }
}

// The late answer to a create, for a model that is still in place and waits for its id.
export function settleCreate(subscription, model, change) {
  update(model, change, {synced: true});
  shadowOf(model).stamp(subscription.history.epoch, change.rev, change.whole);
}

function add(subscription, collection, entry, options) {
  feed(subscription, collection, null, parsed(collection, function() { return [entry]; }, function() {
    collection.add([entry.row], options);
  }));
}

// A request to delete is over: done as of `rev`, or refused, which has none. Where somebody has made
// the model anew since, as a fetch or an event told, there is a new one. What a fetch had is
// there also when it was refused, unless the server counts anew since, or does not count.
export function admit(request, rev) {
  var subscription = request.subscription, history = subscription.history, collection = request.collection;
  var model = request.object, left = request.left;
  if (left && (left.epoch !== history.epoch || left.rev == null)) left = null;
  if (left && (left.rev < history.from || rev >= left.rev)) left = null;
  if (!collection || !left && (rev == null || !known(collection) || !known(collection).bound)) return;
  var key = keyOf(modelId(collection, model.attributes, model.idAttribute));
  history.present(left ? [left.row] : [], left ? left.rev : rev, !!left && left.whole, function(row) {
    return rowKey(collection, row);
  }, function(name) { return name === key; }, conversion(collection)).forEach(function(entry) {
    if (!key || entry.key !== key || contents(collection).has(key)) return;
    add(subscription, collection, entry, {parse: true, synced: true});
  });
}

// The content changed as a whole: to the models given, or to what a fetch finds.
function reset(subscription, object, state, change) {
  var rows = change.model, key = keyOf(object.id);
  state.held = state.label = undefined; // what they told may be gone
  if (!Array.isArray(rows)) {
    refetchLater(subscription, object, state, change.retryAfter);
  } else if (state.bound && isCollection(object)) {
    refill(subscription, object, {rev: change.rev, whole: change.whole}, rows, function() {
      object.set(rows, {parse: true, synced: true});
    });
  } else if (state.bound && !object.isNew()) {
    var row = rows.filter(function(item) { return rowKey(object, item) === key; })[0];
    apply(subscription, object, {
      method: row ? 'update' : 'delete', model: row || object.attributes, rev: change.rev, whole: change.whole
    });
  }
}

// Answers
// -------

// Lets `act` set or reset a collection with an answer, brought up to date on its way from
// `collection.parse` to the collection. `arrival` is as in `Shadow.say`, with the answer's `rev`;
// `rows` is the answer where it needs no parsing by the collection.
export function refill(subscription, collection, arrival, rows, act) {
  var had = contents(collection);
  feed(subscription, collection, arrival, parsed(collection, function(parse, answer, options) {
    var list = rows || parse.call(collection, answer, options);
    return Array.isArray(list) ? present(subscription, collection, list, arrival, had) : list;
  }, act));
}

// The same for rows that are not parsed at all: `act` is called with what to set.
export function refillParsed(subscription, collection, arrival, rows, options, act) {
  var entries = present(subscription, collection, rows, arrival, contents(collection));
  feed(subscription, collection, arrival, function(lay) { act(lay(entries, options)); });
}

// The rows of a collection as of an answer, brought to the present. What the page itself
// has under way counts as well: a model being created stays, one being destroyed does not
// come back before its delete is over (see `admit`).
function present(subscription, collection, rows, arrival, had) {
  var history = subscription.history;
  var entries = history.present(rows, arrival.rev, arrival.whole, function(row) {
    return rowKey(collection, row);
  }, function(key) { return had.has(key); }, conversion(collection));
  entries.forEach(function(entry) {
    var model = entry.key && had.get(entry.key), last = model ? revOf(model, history.epoch) : null;
    entry.model = model || null;
    entry.old = last !== null && arrival.rev != null && last > entry.rev;
  });
  subscription.requests.forEach(function(request) {
    var model = request.object, key, there;
    if (request.collection !== collection || model === collection || request.expired) return;
    if (request.method === 'create' && model.isNew() && had.get(model.cid) === model) {
      there = entries.some(function(entry) { return entry.model === model; });
      if (!there) entries.push({model: model, old: true});
    }
    if (request.method === 'delete') {
      key = keyOf(modelId(collection, model.attributes, model.idAttribute));
      entries = entries.filter(function(entry) {
        if (!key || entry.key !== key) return true;
        request.left = extend({epoch: history.epoch}, entry);
        // Without `wait`, a model of that id that is there was made anew.
        return !!request.options.wait || !!entry.model;
      });
    }
  });
  return entries;
}

// Runs a function in which a collection sets rows of the server's. It gets `lay(entries, options)`,
// which makes of entries what Backbone is given. An entry is `{key, row, rev, whole, model, old}`:
// `model` is the collection's, and stays as it is when the row is `old`.
function feed(subscription, collection, arrival, run) {
  var restores = [], entries = [], outer = [feeding, laid], births;
  var lay = function(found, options) {
    var ids = found.map(function(entry) { return entry.key && entry.key.slice(1); });
    entries = found;
    entries.forEach(function(entry) { if (entry.model && entry.row) laid.set(entry.row, entry.model); });
    restores.push(aside(collection, ids));
    return entries.map(function(entry) { return place(entry, options, arrival, restores); });
  };
  feeding = collection;
  laid = new Map();
  try {
    births = watch(function() { run(lay); });
  } finally {
    feeding = outer[0];
    laid = outer[1];
    restores.forEach(function(restore) { restore(); });
    entries.forEach(function(entry) { if (entry.model) forget(entry.model); });
  }
  settle(subscription, collection, entries, births);
}

// Lays out the entries that `list` finds in place of what the collection's `parse` returns,
// while `act` runs.
function parsed(collection, list, act) {
  return function(lay) {
    var parse = collection.parse;
    var restore = override(collection, 'parse', function(answer, options) {
      restore();
      var found = list(parse, answer, options);
      return Array.isArray(found) ? lay(found, options) : found;
    });
    try { act(); } finally { restore(); }
  };
}

// Whether a collection sets rows of the server's right now.
export function isFeeding(collection) {
  return feeding === collection;
}

// What Backbone is given for an entry. A reset would make a new model of each row: one that
// the page has changed is updated here, and stays.
function place(entry, options, arrival, restores) {
  var model = entry.model, what = entry.row, asIs = extend({}, options, {xhr: true});
  if (!model) return what;
  if (!entry.old) {
    expect(model, extend({}, arrival, {whole: entry.whole}));
    if (!options || !options.reset || !isEdited(model)) return what;
    model.set(!options.parse ? what : model.parse(what, options), asIs);
  } else if (what && arrival && arrival.since) {
    revert(model, arrival.since, asIs);
  }
  // Models are in place and not parsed again.
  restores.push(override(model, 'parse', function() { return model.attributes; }));
  return model;
}

// Stamps what was set.
function settle(subscription, collection, entries, births) {
  var history = subscription.history, rows = new Map();
  entries.forEach(function(entry) { if (entry.key) rows.set(entry.key, entry); });
  births.forEach(function(attrs, model) {
    var id = modelId(collection, model.attributes, model.idAttribute), key = keyOf(id);
    var entry = key && rows.get(key);
    if (!entry || model.collection !== collection) return;
    made(model, attrs, entry.row);
    // Where only `parse` tells the id, Backbone adds the new model and then removes the old
    // one, and its id with it.
    if (!has(collection._byId, id)) collection._byId[id] = model;
    entry.model = model;
  });
  entries.forEach(function(entry) {
    if (entry.old || !entry.model || entry.rev == null) return;
    shadowOf(entry.model).stamp(history.epoch, Math.max(entry.rev, history.rev), entry.whole);
  });
}

// Lets `act` set the answer to a save or fetch of one model, brought up to date on its way
// through `model.parse`. Returns whether the model was deleted since.
export function renew(subscription, model, answer, arrival, options, act) {
  var history = subscription.history, rev = arrival.rev, shadow = shadowOf(model);
  var key = keyOf(model.id) || rowKey(model, answer), last = revOf(model, history.epoch);
  var old = last !== null && rev != null && last > rev;
  var raw = options.parse === false, parse = model.parse, renewed = {rev: old ? last : rev, gone: false};
  // Backbone asks `parse` unless the options say not to; here it always has to.
  var asked = override(options, 'parse', true);
  var restore = override(model, 'parse', function(row, given) {
    restore();
    asked();
    var read = function(item) { return raw ? item : parse.call(model, item, given); };
    var state = known(model) || known(model.collection), answered = read(row);
    var now = old ? shadow.latest(answered, rev) : answered;
    renewed = history.renew({attrs: now, rev: renewed.rev, whole: arrival.whole}, key, function(item) {
      return rowKey(model, item);
    }, function(item) { return read(converted(state, item)); });
    var whole = renewed.whole || old; // all that was said, if not all there is
    expect(model, extend({}, arrival, {row: renewed.attrs, whole: whole, answered: answered}));
    return renewed.attrs;
  });
  try { act(answer); } finally { restore(); asked(); forget(model); }
  shadow.stamp(history.epoch, renewed.rev, renewed.rev !== last && renewed.whole);
  return renewed.gone;
}
