// One call of `Backbone.sync`. What is sent is fixed at once: the model may change before
// the network is back, and the same id must not mean two things.
import Backbone from 'backbone';
import {asFailure, clean, extend, failure, guard, isObject, jsonCopy, plain, random, remove, soon, utf8Length}
  from './util.js';
import {find, idOf, isCollection} from './identity.js';
import {known} from './states.js';
import {now} from './shadow.js';
import {begin, end, inherit, react} from './attributes.js';
import {admit, receive, refill, renew, settleCreate} from './apply.js';
import {refetch} from './refetch.js';
import {note} from './trail.js';

// The beginning of the page's request ids, which may well appear in logs.
var page = random(8), counter = 0;

// How many fetches of an object are repeated after a reset.
var MAX_FETCHES = 100;

// Options that concern the page alone.
var LOCAL = ['success', 'error', 'complete', 'beforeSend', 'context', 'collection', 'xhr', 'backend',
  'timeout', 'attrs', 'textStatus', 'errorThrown', 'refetch'];

function sendable(options) {
  options = extend({}, options);
  LOCAL.forEach(function(name) { delete options[name]; });
  return plain(options, []);
}

// What new models are being patched with. Backbone takes a patch of a new model for a create
// and does not pass on what it was to change.
var patches = new Map();

export function install(follows) {
  var save = Backbone.Model.prototype.save;

  Backbone.Model.prototype.save = function(key, value, options) {
    var attrs = key, many = key == null || typeof key === 'object';
    if (many) options = value; else (attrs = {})[key] = value;
    if (!options || !options.patch || !this.isNew() || !follows(this)) return save.apply(this, arguments);
    patches.set(this, attrs);
    try { return save.apply(this, arguments); } finally { patches.delete(this); }
  };
}

export function Request(subscription, method, object, options) {
  var attrs = options.attrs, id = object.idAttribute;
  if (isCollection(object)) {
    attrs = attrs || {};
  } else {
    attrs = attrs ? extend({}, attrs) : object.toJSON(options);
    if (options.attrs && object.id != null && attrs[id] == null) attrs[id] = object.id;
  }
  this.subscription = subscription;
  this.method = method;
  this.object = object;
  this.collection = isCollection(object) ? object : object.collection;
  this.creates = method === 'create' && !isCollection(object) && object.isNew();
  this.patch = jsonCopy(patches.get(object) || {});
  this.options = options;
  this.message = jsonCopy({
    id: page + '-' + ++counter,
    method: method,
    model: attrs,
    options: sendable(options),
    channel: subscription.channel
  });
}

extend(Request.prototype, {
  start: function() {
    var request = this, options = this.options, $ = Backbone.$, backend = this.subscription.backend;
    if ($ && $.Deferred) {
      this.deferred = $.Deferred();
      this.promise = this.deferred.promise();
    } else {
      this.deferred = {};
      this.promise = new Promise(function(resolve, reject) {
        request.deferred = {resolve: resolve, reject: reject};
      });
      // Who ignores the promise has the `error` event.
      this.promise.catch(function() {});
    }

    var timeout = backend.connection.timeoutOf(options);
    // A timer that is set for longer than it can count would go off at once.
    if (timeout > 0 && timeout <= 0x7fffffff) {
      this.timer = setTimeout(function() { request.expire(); }, timeout);
    }

    this.at = now();
    if (this.saves()) begin(this.object, this, this.message.model, options.wait);
    this.subscription.requests.add(this);
    backend.queue.push(this);
    backend.pump();
    options.xhr = this.promise;
    this.object.trigger('request', this.object, this.promise, options);
    return this.promise;
  },

  saves: function() {
    return !isCollection(this.object) && ['create', 'update', 'patch'].indexOf(this.method) >= 0;
  },

  // The time from before which it overwrites what the page has changed: a fetch that the page,
  // and not we, asked for does.
  overwrites: function() {
    return this.method === 'read' && !this.options.refetch ? this.at : 0;
  },

  // Is it to save a model that is being created? It waits for the model's id then, or
  // there would be two.
  early: function() {
    var request = this;
    return this.creates && this.subscription.backend.flying.some(function(other) {
      return other.creates && other.object === request.object;
    });
  },

  // The model got its id while this waited. Backbone took it for one more create, and so
  // for all of the model; a patch is what it changes.
  updates: function() {
    var object = this.object, patch = this.options.patch, message = this.message;
    this.creates = false;
    this.method = message.method = patch ? 'patch' : 'update';
    if (patch) {
      message.model = this.patch;
    } else {
      message.model = jsonCopy(extend({}, object.toJSON(this.options), message.model));
    }
    message.model[object.idAttribute] = object.id;
  },

  send: function() {
    var request = this, subscription = this.subscription;
    var backend = subscription.backend, socket = backend.socket;
    if (this.creates && !this.sent && !this.object.isNew()) this.updates();
    var limit = socket.io.engine && (socket.io.engine._maxPayload || socket.io.engine.maxPayload);

    // A bigger message would make the server close the connection, every time anew.
    // Socket.IO's own framing around it: packet type, namespace, ack id, event name.
    var size = utf8Length(JSON.stringify(this.message)) + utf8Length(subscription.name) + 40;
    if (limit > 0 && size > limit) {
      var error = failure('TooLarge', 'the request has ' + size + ' bytes, the server takes ' + limit);
      return void soon(function() { request.fail(error); });
    }

    var history = subscription.history;
    if (!this.sent || this.epoch !== history.epoch) this.since = history.rev;
    this.epoch = history.epoch;
    this.sent = this.flying = true;
    backend.flying.push(this);
    socket.emit('sync', this.message, function(error, result, meta) {
      remove(backend.flying, request);
      request.flying = false;
      if (request.expired) request.late(error, clean(result), meta || {});
      else if (error) request.fail(asFailure(error));
      else request.succeed(clean(result), meta || {});
      backend.pump();
    });
  },

  // The change that a successful write made, or null for a read.
  change: function(result, rev, whole) {
    var method = this.method === 'patch' ? 'update' : this.method;
    if (method === 'read') return null;
    var complete = isObject(result) && idOf(this.object, result) != null;
    var model = complete ? result : extend({}, this.message.model, isObject(result) ? result : null);
    return {method: method, model: model, rev: rev, whole: complete && !!whole};
  },

  succeed: function(result, meta) {
    if (!this.settle()) return;
    var subscription = this.subscription, options = this.options, epoch = subscription.history.epoch;
    var rev = meta.epoch === undefined || meta.epoch === epoch ? meta.rev : null;
    var row = isObject(result) ? result : this.message.model;
    note(subscription, 'answer', this.method, this.object, row, rev);
    this.take(result, rev, meta.whole, function(answer) {
      if (options.success) options.success.call(options.context, answer);
    });

    // The other collections of the page hear of it like those elsewhere, unless it
    // was sent again and they have heard of it already.
    var request = this, change = this.change(result, rev, meta.whole);
    if (change && (rev == null || rev > subscription.history.rev)) receive(subscription, change, this);
    this.admit(rev);
    guard(function() { request.deferred.resolve(result); });
    this.release();
    if (this.method === 'create' && rev < subscription.history.from) this.look();
  },

  // Lets `act`, which is Backbone's, set an answer, brought up to date.
  take: function(result, rev, whole, act) {
    var request = this, subscription = this.subscription, object = this.object, options = this.options;
    var arrival = {rev: rev, whole: !!whole, since: this.overwrites()};
    if (this.saves()) arrival.save = this;

    react(function() {
      guard(function() {
        if (object === request.collection) {
          if (request.method !== 'read') return act(result);
          request.fetched();
          var raw = options.parse === false && Array.isArray(result) ? result : null;
          if (raw) options.parse = true;
          refill(subscription, object, arrival, raw, function() { act(result); });
        } else if (request.method === 'delete') {
          act(result);
        } else {
          if (request.method === 'create') request.unite(result);
          if (request.method === 'read') request.fetched();
          var gone = renew(subscription, object, result, arrival, options, act);
          if (gone && request.collection) request.collection.remove(object, {synced: true});
          else if (request.method === 'create') request.keep();
        }
      });
      if (request.saves()) end(object, request, false);
    });
  },

  // Remembers how an object was fetched, to do it again after a reset. With `remove: false`
  // (further pages of a list, say) it is one more fetch, else it stands for all before. Who
  // asks for something new every minute keeps the last ones. What we fetch again
  // ourselves is remembered already.
  fetched: function() {
    var state = known(this.object), options = this.message.options;
    if (!state) return;
    state.patience = undefined;
    if (this.options.refetch) return;
    state.fetched = (options.remove === false && state.fetched || []).filter(function(other) {
      return JSON.stringify(other) !== JSON.stringify(options);
    }).concat([options]).slice(-MAX_FETCHES);
  },

  // A create that was sent again may have come as a missed change, or in a list, and so as
  // another model, before its answer. There is only one, which knows what both were told, and has
  // what was set on both.
  unite: function(result) {
    var collection = this.collection, object = this.object;
    var twin = collection && find(collection, idOf(object, result), true);
    if (twin && twin !== object && (this.options.wait || collection.get(object))) {
      inherit(object, twin);
      collection.remove(twin, {synced: true});
    }
  },

  // A model that the page removed while it was being created is on the backend all the
  // same, and so in a collection that follows it.
  keep: function() {
    var collection = this.collection, state = collection && known(collection);
    if (!state || !state.bound || collection.get(this.object)) return;
    collection.add(this.object, {synced: true});
  },

  // A model was created before the last reset, and may be deleted by now, which nobody tells: its
  // collection is fetched anew, unless it is already, behind this.
  look: function() {
    var subscription = this.subscription, collection = this.collection;
    var state = collection && known(collection);
    var asked = Array.from(subscription.requests).some(function(other) {
      return other.object === collection && other.options.refetch;
    });
    if (state && !asked) refetch(subscription, collection, state);
  },

  // The model of a delete that is over may have been made anew.
  admit: function(rev) {
    var request = this;
    if (this.method !== 'delete') return;
    react(function() {
      guard(function() { admit(request, rev); });
    });
  },

  fail: function(error) {
    if (!this.settle()) return;
    var request = this, options = this.options, name = error && error.error && error.error.name;
    note(this.subscription, 'refusal', this.method, this.object, this.message.model, null, name);
    if (this.saves()) guard(function() { end(request.object, request, true); });
    this.admit();
    guard(function() {
      if (options.error) options.error.call(options.context, error);
    });
    guard(function() { request.deferred.reject(error); });
    this.release();
    // It may have held back what stands behind it.
    soon(function() { request.subscription.backend.pump(); });
  },

  // The rev that what it may still bring is as of: what it had seen when it was sent, or the row
  // that a list left out for it; null while there is neither.
  knows: function() {
    var left = this.left, revs = this.sent ? [this.since || 0] : [];
    if (left && left.epoch === this.subscription.history.epoch && left.rev != null) revs.push(left.rev);
    return revs.length ? Math.min.apply(null, revs) : null;
  },

  // Sent, and maybe to be asked for again.
  unanswered: function() {
    return !!this.sent && !this.expired;
  },

  // A write that was sent on a connection which is gone, and not answered.
  doubtful: function() {
    return !!this.sent && !this.flying && !this.expired && this.method !== 'read';
  },

  // The server cannot vouch for it: sending it again might do it twice. What waits for a
  // model that may have been created fails with it.
  lose: function() {
    var request = this, error = failure('Unavailable',
      'the answer was lost; the change may or may not have been made', {sent: true});
    Array.from(this.subscription.requests).forEach(function(other) {
      var waits = request.creates && other.creates && other.object === request.object;
      if (other === request || waits) other.fail(error);
    });
  },

  // A request is settled once.
  settle: function() {
    if (this.settled) return false;
    clearTimeout(this.timer);
    remove(this.subscription.backend.queue, this);
    return (this.settled = true);
  },

  // Out of time. Unsent it is dropped for good; sent, the answer may still come.
  expire: function() {
    var sent = !!this.sent, flying = this.flying;
    this.expired = true;
    this.fail(failure('Timeout', sent
      ? 'no answer in time; the change may or may not have been made'
      : 'not connected in time; the request was not sent', {sent: sent}));
    if (flying) this.subscription.requests.add(this);
  },

  // The answer to a request that was given up: its change is one of others, except
  // that a model still in place, waiting for its id, receives it.
  late: function(error, result, meta) {
    var subscription = this.subscription, object = this.object;
    var change = error ? null : this.change(result, meta.rev, meta.whole);
    if (change && (meta.rev == null || meta.rev > subscription.history.rev)) {
      var there = !this.collection || this.collection.get(object);
      var waits = this.method === 'create' && object.isNew() && there;
      if (waits) guard(function() { settleCreate(subscription, object, change); });
      receive(subscription, change, waits ? this : null);
    }
    this.release();
  },

  release: function() {
    this.subscription.release(this);
  }
});
