// One channel of a backend as this page hears it, shared by all collections and models
// that use it; it is what `collection.backend` holds. `name` and `channel` are those
// given, `connected` tells whether changes come in at present, `event` is the prefix of
// its events, and `socket` is Socket.IO's of the backend's namespace.
import {clean, extend, guard, isAway, moment} from './util.js';
import {touch} from './schedule.js';
import {known, objectOf} from './states.js';
import {History} from './history.js';
import {receive} from './apply.js';
import {mend} from './refetch.js';

// `state` is idle, listening, ready, refused (by the server's stack) or left (the
// server took us out).
export function Subscription(backend, name) {
  this.backend = backend;
  this.name = backend.name;
  this.channel = name;
  this.event = 'backend';
  this.connected = false;
  this.state = 'idle';
  this.away = false; // refused for want of a database
  this.users = new Set();
  this.requests = new Set();
  this.history = new History();
  this.buffer = [];
  touch(this);
}

export function channelKey(name) {
  return name == null ? 'none' : ':' + name;
}

extend(Subscription.prototype, {
  // Calls a function with each registered collection and model.
  each: function(fn) {
    var subscription = this;
    Array.from(this.users).forEach(function(holder) {
      var object = objectOf(holder);
      // What is held weakly and got into a collection since has that one's subscription.
      var moved = holder !== object && object && object.collection &&
        object.collection.backend instanceof Subscription;
      if (!object || moved) subscription.users.delete(holder);
      else if (subscription.users.has(holder)) fn(object, known(object));
    });
  },

  // One of the registered objects, or null.
  any: function() {
    var next = this.users.values().next();
    return next.done ? null : objectOf(next.value) || null;
  },

  trigger: function(object, event) {
    var args = Array.prototype.slice.call(arguments, 1);
    args[0] = this.event + event;
    guard(function() { object.trigger.apply(object, args); });
  },

  // Brings what the server knows in line with whether anything here still needs
  // the channel.
  refresh: function() {
    if (!this.users.size && !this.requests.size) this.close();
    else if (this.state === 'idle' && this.backend.connected()) this.listen();
  },

  // Asks to be let in, again if need be.
  ask: function() {
    if (this.state === 'refused' || this.state === 'left') this.state = 'idle';
    touch(this);
  },

  close: function() {
    var subscriptions = this.backend.subscriptions, key = channelKey(this.channel);
    if (subscriptions[key] === this) delete subscriptions[key];
    if (this.backend.connected() && (this.state === 'ready' || this.state === 'listening')) {
      this.backend.socket.emit('leave', this.channel);
    }
    this.state = 'idle';
    this.connected = false;
    this.turn = null;
    this.buffer = [];
    this.history.forget();
  },

  // Tells from where on we want to hear, and which requests of this page, for whichever
  // channel, were sent and not answered: the server says which it cannot vouch for.
  listen: function() {
    var subscription = this, turn = this.turn = {}, history = this.history;
    var backend = this.backend, client = backend.connection.client;
    var request = {channel: this.channel, client: client, unanswered: backend.unanswered()};
    if (history.epoch !== null) request.since = {epoch: history.epoch, rev: history.upto};
    this.state = 'listening';
    this.buffer = [];
    backend.socket.emit('listen', request, function(answer) {
      // Only the latest listen counts: we may have left or lost the connection.
      if (subscription.turn !== turn) return;
      answer = clean(answer) || {};
      if (answer.error) subscription.refused(answer); else subscription.listened(answer);
      backend.pump();
    });
  },

  listened: function(answer) {
    var subscription = this, history = this.history, buffer = this.buffer;
    var again = history.epoch !== null;
    this.event = answer.event || 'backend';
    this.state = 'ready';
    this.away = false;
    this.buffer = [];
    if (answer.epoch !== history.epoch || answer.reset) history.forget();
    history.epoch = answer.epoch === undefined ? null : answer.epoch;
    if (!again || answer.reset) history.from = answer.rev || 0;
    this.doubt(answer.unknown);

    if (again && answer.reset) {
      history.resume(answer.rev || 0);
      receive(this, {method: 'reset', model: null, rev: history.rev, retryAfter: answer.retryAfter});
    } else {
      history.heard = history.upto;
      (answer.missed || []).forEach(function(change) {
        subscription.arrived(change[0], change[1], change[2] || {});
      });
      history.resume(Math.max(history.rev, answer.rev || 0));
    }
    buffer.forEach(function(change) { subscription.arrived.apply(subscription, change); });

    this.connected = true;
    this.each(function(object, state) {
      subscription.greet(object, state);
      if (!again || !answer.reset) mend(subscription, object, state);
    });
  },

  // Gives up what the server cannot vouch for. One that does not tell remembers as long as
  // its epoch.
  doubt: function(unknown) {
    var epoch = this.history.epoch;
    if (unknown) {
      this.backend.each(function(subscription) {
        subscription.lose(function(request) { return unknown.indexOf(request.message.id) >= 0; });
      });
    } else {
      this.lose(function(request) { return request.epoch !== epoch; });
    }
  },

  lose: function(lost) {
    Array.from(this.requests).forEach(function(request) {
      if (request.doubtful() && lost(request)) request.lose();
    });
  },

  // Tells an object, once a connection, that it is live.
  greet: function(object, state) {
    if (!this.connected || state.greeted) return;
    state.greeted = true;
    this.trigger(object, ':connect');
  },

  down: function() {
    var subscription = this, was = this.connected;
    this.turn = null;
    this.connected = false;
    if (this.state === 'ready' || this.state === 'listening') this.state = 'idle';
    if (!was) return;
    this.each(function(object, state) {
      state.greeted = false;
      subscription.trigger(object, ':disconnect');
    });
  },

  // Requests for a channel that may not be heard fail with the reason. The next
  // request, or the next connection, asks again; and so do we while the server's database
  // is away, of which the page is told once.
  refused: function(error) {
    var subscription = this, told = this.away;
    this.down();
    this.state = 'refused';
    this.away = isAway(error);
    if (!this.away || !told) this.each(function(object) {
      guard(function() { object.trigger('error', object, error, {}); });
    });
    clearTimeout(this.asking);
    if (this.away) this.asking = setTimeout(function() {
      if (subscription.away && subscription.state === 'refused') subscription.ask();
    }, moment());
    Array.from(this.requests).forEach(function(request) {
      if (!request.flying) request.fail(error);
    });
  },

  // The server took us out. We stay out, also of the next connection, until a
  // request or `bindBackend` asks to be let in again.
  left: function(error) {
    var subscription = this;
    this.down();
    this.state = 'left';
    this.each(function(object) {
      subscription.trigger(object, ':leave', error);
    });
  },

  // A change from the server. While a listen is under way changes wait for it,
  // since its answer may bring older ones.
  arrived: function(method, model, meta) {
    if (this.state === 'listening') return void this.buffer.push([method, model, meta]);
    if (this.state !== 'ready' || !this.history.hears(meta.rev)) return;
    receive(this, {method: method, model: model, rev: meta.rev, whole: !!meta.whole});
  },

  // The request under way that knows least of the present, or null.
  oldest: function() {
    var oldest = null, least;
    this.requests.forEach(function(request) {
      var rev = request.knows();
      if (rev === null || oldest && rev >= least) return;
      oldest = request;
      least = rev;
    });
    return oldest;
  },

  // A request is over: what was kept for it is forgotten.
  release: function(request) {
    this.requests.delete(request);
    var first = this.oldest();
    this.history.trim(first ? first.knows() : null);
    touch(this);
  }
});

// The original's pages use the namespace's socket.
Object.defineProperty(Subscription.prototype, 'socket', {
  get: function() { return this.backend.socket || null; }
});
