// Requests by REST, of objects that only follow a backend: `backend: {name, sync: false}`.
//
// What such an answer shows is at least as new as all that the page had heard when it asked,
// since that was in the same database by then. Where the page did not listen yet, the header
// `Backbone-Rev: <backend>=<epoch>:<rev>, ...` says how new it is; without it, what was read
// before we listened is read once more.
import Backbone from 'backbone';
import {extend, isAway, override} from './util.js';
import {isCollection} from './identity.js';
import {known} from './states.js';
import {now} from './shadow.js';
import {begin, end, react} from './attributes.js';
import {isFeeding, refill, refillParsed, unhold} from './apply.js';
import {mend, refetch} from './refetch.js';
import {Request} from './request.js';

var HEADER = 'Backbone-Rev';

// What is not repeated with a fetch.
var ONCE = ['success', 'error', 'xhr', 'textStatus', 'errorThrown', 'refetch'];

// How long after its promise a request may still come with its answer.
var LATE = 10000;

// One request; `subscription` keeps its history for it while it is under way.
export function RestRequest(subscription, method, object, options) {
  this.subscription = subscription;
  this.method = method;
  this.object = object;
  this.collection = isCollection(object) ? object : object.collection;
  this.creates = method === 'create' && !isCollection(object) && object.isNew();
  this.options = options;
  this.message = {options: extend({}, options)};
  ONCE.forEach(function(name) { delete this.message.options[name]; }, this);
  this.rest = this.sent = this.flying = true;
  this.since = subscription.history.rev;
  this.epoch = subscription.history.epoch;
  this.at = now();
  this.label = null;
}

RestRequest.prototype = Object.create(Request.prototype);

extend(RestRequest.prototype, {
  // Sends it by calling a function that is to call `options.success` or `options.error`.
  send: function(ask) {
    var request = this, options = this.options, success = options.success, error = options.error, asked;
    if (this.saves()) begin(this.object, this, options.attrs || this.object.toJSON(options), options.wait);
    this.subscription.requests.add(this);
    options.success = function(answer) {
      var context = this, rest = Array.prototype.slice.call(arguments, 1);
      request.read(rest);
      if (request.over) return void (success && success.apply(context, arguments));
      request.take(answer, request.rev(), false, function(given) {
        if (success) success.apply(context, [given].concat(rest));
      });
      request.finish(false);
    };
    options.error = function() {
      if (request.saves()) end(request.object, request, true);
      if (error) error.apply(this, arguments);
      request.finish(true);
    };
    try {
      asked = this.watch(ask);
    } catch (failed) {
      this.finish(true);
      throw failed;
    }
    // Whoever replaces `Backbone.ajax` may forget the one or the other.
    this.after(asked);
    return asked;
  },

  // Waits for it no longer than a while after a promise is settled. What we fetch again ourselves,
  // and only the promise tells that it failed, is asked for once more.
  after: function(promise) {
    var request = this, again = this.options.refetch && this.options.refetch.again;
    var wait = function(then) {
      var timer = request.over ? null : setTimeout(function() {
        if (request.over) return;
        request.finish(true);
        if (then) then();
      }, LATE);
      if (timer && timer.unref) timer.unref(); // Node would wait for it
    };
    if (!promise || typeof promise.then !== 'function') return wait();
    promise.then(function() { wait(); }, function(failed) {
      wait(again && (isAway(failed) || !failed || failed.status === undefined) ? again : null);
    });
  },

  // Runs a function that may ask by `fetch`, whose answer we would not see otherwise.
  watch: function(ask) {
    var root = typeof globalThis === 'object' ? globalThis : self, request = this;
    var fetch = root.fetch, restore;
    if (typeof fetch !== 'function') return ask();
    restore = override(root, 'fetch', function() {
      var promise = fetch.apply(root, arguments);
      promise.then(function(response) { request.note(response.headers.get(HEADER)); }, function() {});
      return promise;
    });
    try { return ask(); } finally { restore(); }
  },

  // Looks for the header in what jQuery hands to callbacks.
  read: function(args) {
    var request = this;
    args.forEach(function(xhr) {
      if (xhr && typeof xhr.getResponseHeader === 'function') request.note(xhr.getResponseHeader(HEADER));
    });
  },

  note: function(header) {
    var name = encodeURIComponent(this.subscription.name), request = this;
    String(header || '').split(',').forEach(function(part) {
      var found = /^\s*([^=]+)=(.*):(\d+)\s*$/.exec(part);
      if (!found || found[1] !== name && found[1] !== request.subscription.name) return;
      request.label = {epoch: found[2], rev: Number(found[3])};
    });
  },

  // The rev that the answer has at least, or null where it cannot be told.
  rev: function() {
    var subscription = this.subscription, history = subscription.history, label = this.label, revs = [];
    // Nothing was heard yet: we shall listen from there.
    if (label && history.epoch === null && subscription.state === 'idle') {
      history.epoch = label.epoch;
      history.resume(label.rev);
      history.from = label.rev;
    }
    if (this.epoch !== null && this.epoch === history.epoch) revs.push(this.since);
    if (label && label.epoch === history.epoch) revs.push(label.rev);
    return revs.length ? Math.max.apply(null, revs) : null;
  },

  finish: function(refused) {
    if (this.over) return;
    this.over = true;
    if (this.saves()) end(this.object, this, refused);
    this.release();
    if (this.creates && this.collection) unhold(this.subscription, this.collection, this.object);
    // Of when a delete was is not known here, nor whether the model was made anew since; nor is
    // whether one is there still that was created before a reset.
    var state = (this.left || this.creates && !refused && this.outdated()) && known(this.collection);
    if (state) refetch(this.subscription, this.collection, state);
    if (this.method === 'read' && !refused) this.labelled();
    if (this.options.refetch && !refused) this.options.refetch.next();
  },

  outdated: function() {
    var history = this.subscription.history, rev = this.rev();
    return history.epoch !== null && (rev === null || rev < history.from);
  },

  // Was something missed between this read and our listening?
  labelled: function() {
    var subscription = this.subscription, state = known(this.object), rev = this.rev();
    if (!state || !state.follow) return;
    state.label = rev === null ? null : {epoch: subscription.history.epoch, rev: rev};
    if (subscription.connected) mend(subscription, this.object, state);
  },

  unanswered: function() { return false; },
  doubtful: function() { return false; },
  fail: function() {}
});

// Makes the own `sync` or `fetch` of a collection or model one that is known of.
export function adopt(object, subscription) {
  var proto = isCollection(object) ? Backbone.Collection.prototype : Backbone.Model.prototype;
  var sync = object.sync;
  if (sync !== proto.sync) {
    object.sync = function(method, model, options) {
      var context = this;
      options = options || {};
      return new RestRequest(subscription, method, model, options).send(function() {
        return sync.call(context, method, model, options);
      });
    };
  }
  if (isCollection(object) && object.fetch !== proto.fetch) adoptFetch(object, subscription);
}

// A collection that fetches by itself sets what it got when it has it: that is the answer, to
// the first of its fetches that has none.
function adoptFetch(collection, subscription) {
  var fetch = collection.fetch, reading = [];

  collection.fetch = function() {
    var args = arguments, request = new RestRequest(subscription, 'read', collection, extend({}, args[0]));
    reading.push(request);
    subscription.requests.add(request);
    var asked = request.watch(function() { return fetch.apply(collection, args); });
    request.after(asked);
    return asked;
  };

  ['set', 'reset'].forEach(function(name) {
    var original = collection[name];
    collection[name] = function(rows, options) {
      reading = reading.filter(function(request) { return !request.over; });
      var request = reading[0], result;
      var set = function(list) { result = original.call(collection, list, options); };
      if (!request || !rows || isFeeding(collection) || options && options.synced) {
        return original.apply(collection, arguments);
      }
      options = extend({}, options, name === 'reset' ? {reset: true} : null);
      var arrival = {rev: request.rev(), whole: false, since: request.overwrites()};
      request.fetched();
      react(function() {
        if (options.parse) refill(subscription, collection, arrival, null, function() { set(rows); });
        else if (Array.isArray(rows)) refillParsed(subscription, collection, arrival, rows, options, set);
        else set(rows);
      });
      request.finish(false);
      return result;
    };
  });
}
