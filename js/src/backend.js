// One namespace of a connection: its requests, in the order they were made, and its
// subscriptions. `flying` requests were sent on the present connection and wait for
// their answers; `queue` has not been sent on it.
import {clean, extend, failure, isObject} from './util.js';
import {Subscription, channelKey} from './subscription.js';
import {warn} from './warn.js';

export function Backend(connection, name) {
  this.connection = connection;
  this.name = name;
  this.subscriptions = {};
  this.queue = [];
  this.flying = [];
  if (connection.socket) this.start();
}

extend(Backend.prototype, {
  start: function() {
    var backend = this, main = this.connection.socket;
    this.socket = main.io.socket('/' + this.name, {
      // Whatever the page sets as `auth` on its socket holds for all namespaces.
      auth: function(done) {
        if (typeof main.auth === 'function') main.auth(done); else done(main.auth);
      }
    });
    this.socket.on('connect', function() { backend.up(); });
    this.socket.on('disconnect', function() { backend.down(); });
    this.socket.on('connect_error', function(error) {
      if (!backend.socket.active) backend.refused(error);
    });
    this.socket.on('synced', function(method, model, meta) {
      backend.synced(method, clean(model), meta || {});
    });
    this.socket.on('leave', function(name, error) {
      var subscription = backend.subscriptions[channelKey(name)];
      if (subscription) subscription.left(error);
    });
    if (this.socket.connected) this.up();
  },

  connected: function() {
    return !!this.socket && this.socket.connected;
  },

  each: function(fn) {
    for (var key in this.subscriptions) fn.call(this, this.subscriptions[key]);
  },

  subscription: function(name) {
    var key = channelKey(name);
    return this.subscriptions[key] || (this.subscriptions[key] = new Subscription(this, name));
  },

  // The ids of all requests that were sent, and may be asked for again.
  unanswered: function() {
    var ids = [];
    this.each(function(subscription) {
      subscription.requests.forEach(function(request) {
        if (request.unanswered()) ids.push(request.message.id);
      });
    });
    return ids;
  },

  up: function() {
    this.each(function(subscription) {
      if (subscription.state === 'refused') subscription.state = 'idle';
      subscription.refresh();
    });
    this.pump();
  },

  // What was sent and not answered is sent again, under the same id, before what
  // came later. A request that has timed out is not: its change, if there was
  // one, arrives as one that was missed. (The server answers a write in the order
  // of its events, so without the answer no later event was seen either, and the
  // `rev` to listen from is older than that change.)
  down: function() {
    // Socket.IO may have kept packets to send before we have listened again.
    this.socket.sendBuffer = this.socket.sendBuffer.filter(function(packet) {
      return ['listen', 'leave', 'sync'].indexOf(packet.data[0]) < 0;
    });
    var lost = this.flying;
    this.flying = [];
    this.queue = lost.filter(function(request) {
      request.flying = false;
      if (request.expired) request.release();
      return !request.expired;
    }).concat(this.queue);
    this.each(function(subscription) { subscription.down(); });
  },

  // The server does not let this page into the namespace.
  refused: function(error) {
    var data = error && error.data;
    // What every Socket.IO server says of a namespace that it does not know.
    if (error && error.message === 'Invalid namespace') {
      warn('the server has no backend "' + this.name + '". Is it misspelt? ' +
        '`flask backboneio routes` lists those that there are.');
    }
    data = isObject(data) && data.error ? data : failure('Forbidden',
      error && error.message || 'the server refused a connection to "' + this.name + '"');
    this.each(function(subscription) { subscription.refused(data); });
  },

  synced: function(method, model, meta) {
    var one = meta.channel === undefined ? null : this.subscriptions[channelKey(meta.channel)];
    if (one) one.arrived(method, model, meta);
    if (meta.channel !== undefined) return;
    this.each(function(subscription) { subscription.arrived(method, model, meta); });
  },

  // Sends what may be sent, strictly in order: a request whose channel is not
  // heard yet, or whose model has no id yet, holds back those behind it.
  pump: function() {
    var socket = this.socket, connection = this.connection, subscription;
    if (socket && !socket.active && !connection.closed && this.queue.length) socket.connect();
    while (this.connected() && this.queue.length) {
      subscription = this.queue[0].subscription;
      if (subscription.state !== 'ready') return subscription.ask();
      if (this.queue[0].early()) return;
      this.queue.shift().send();
    }
  }
});
