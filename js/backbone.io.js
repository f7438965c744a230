//     Backbone.IO for Python: Backbone models and collections in sync with a
//     backend over Socket.IO, through lost connections too.
//     May be freely distributed under the MIT license.

(function(factory) {
  'use strict';
  var root = typeof globalThis === 'object' ? globalThis : self;

  // AMD, CommonJS (bundlers and ES module imports of it), or a script tag after
  // Backbone and the Socket.IO client. Socket.IO is looked up when connecting.
  if (typeof define === 'function' && define.amd) {
    define(['backbone', 'socket.io-client'], function(Backbone, io) {
      return factory(Backbone, function() { return io; });
    });
  } else if (typeof module === 'object' && module.exports) {
    module.exports = factory(require('backbone'), function() {
      return root.io || require('socket.io-client');
    });
  } else {
    factory(root.Backbone, function() { return root.io; });
  }
})(function(Backbone, findIO) {
  'use strict';

  if (!Backbone) throw new Error('backbone.io.js needs Backbone to be loaded first');
  if (Backbone.io && Backbone.io.connect) return Backbone.io;

  // Backbone.io
  // -----------

  // Connects to the server and returns the Socket.IO socket. The arguments are
  // those of Socket.IO's `io(url, options)`; one option is ours:
  //
  //  * `requestTimeout`: milliseconds until a request without an answer fails.
  //    0, the default, waits for ever. `Backbone.io.timeout` sets it for every
  //    connection and `save({...}, {timeout: 5000})` for one request.
  //
  // It may be called before or after collections exist. Called again it makes
  // another connection: what was made before stays with the first, what is made
  // afterwards belongs to the latest.
  function connect(url, options) {
    var io = findIO();
    if (!io) throw new Error('Backbone.io.connect needs the Socket.IO client (socket.io.js)');
    var given = (url && typeof url === 'object' ? url : options) || {};
    var settings = extend({}, given);

    // A WebSocket needs neither sticky sessions nor an upgrade, so it comes first.
    if (!given.transports) {
      settings.transports = ['websocket', 'polling'];
      if (given.tryAllTransports === undefined) settings.tryAllTransports = true;
    }
    delete settings.requestTimeout;

    if (current.socket) current = new Connection();
    current.timeout = given.requestTimeout;
    current.closed = given.autoConnect === false;
    current.start(typeof url === 'string' ? io(url, settings) : io(settings));
    if (!given.transports) alternate(current.socket.io);
    return current.socket;
  }

  Backbone.io = Backbone.IO = function(url, options) {
    return connect(url, options);
  };
  Backbone.io.connect = connect;
  Backbone.io.timeout = 0;

  // Socket.IO falls back where a WebSocket is refused, but not where a proxy lets it
  // open and nothing comes through, which ends in a timeout. The next attempt then
  // begins with the other transport. A server that is away is no reason for that, and
  // the order holds for one connection only: where long-polling works just halfway
  // (several workers, no sticky sessions) nobody stays with it.
  function alternate(manager) {
    var order = manager.opts.transports;
    manager.on('error', function(error) {
      if (error.message !== 'timeout') return;
      manager.opts.transports = manager.opts.transports.slice().reverse();
    });
    manager.on('close', function() { manager.opts.transports = order; });
  }

  // Helpers
  // -------

  var hasOwn = Object.prototype.hasOwnProperty;

  // Like `_.extend`. Underscore stays Backbone's own affair: this file works with
  // whichever Backbone was given.
  function extend(target) {
    for (var i = 1; i < arguments.length; i++) {
      for (var key in arguments[i]) {
        if (hasOwn.call(arguments[i], key) && key !== '__proto__') target[key] = arguments[i][key];
      }
    }
    return target;
  }

  function isObject(value) {
    return !!value && typeof value === 'object' && !Array.isArray(value);
  }

  function jsonCopy(value) {
    return JSON.parse(JSON.stringify(value));
  }

  function isCollection(object) {
    return object instanceof Backbone.Collection;
  }

  // Runs a handler of the page. Its exception is reported as uncaught, as if the
  // browser had called it, and does not stop the changes that come after it.
  function guard(fn) {
    try {
      return fn();
    } catch (error) {
      setTimeout(function() { throw error; });
    }
  }

  // Puts a property on an object for a while; the function returned takes it off.
  function override(object, name, value) {
    var own = hasOwn.call(object, name), old = object[name], done = false;
    object[name] = value;
    return function() {
      if (done) return;
      done = true;
      if (own) object[name] = old; else delete object[name];
    };
  }

  function random(bytes) {
    var values = [], text = '', i;
    if (typeof crypto === 'object' && crypto.getRandomValues) {
      values = crypto.getRandomValues(new Uint8Array(bytes));
    } else {
      for (i = 0; i < bytes; i++) values.push(Math.floor(Math.random() * 256));
    }
    for (i = 0; i < bytes; i++) text += (values[i] + 256).toString(16).slice(1);
    return text;
  }

  // The page's secret name, under which the server remembers its answers, and the
  // beginning of its request ids, which may well appear in logs.
  var client = random(24), page = random(8), counter = 0;

  // The part of a value that survives JSON: functions, DOM nodes, request objects,
  // models, collections, other instances and cycles give `undefined`.
  function plain(value, parents) {
    if (value === null || typeof value === 'string' || typeof value === 'boolean') return value;
    if (typeof value === 'number') return isFinite(value) ? value : undefined;
    if (typeof value !== 'object' || parents.indexOf(value) >= 0) return undefined;
    var inside = parents.concat([value]), result, part;
    if (Array.isArray(value)) {
      return value.map(function(item) {
        part = plain(item, inside);
        return part === undefined ? null : part;
      });
    }
    if (Object.prototype.toString.call(value) === '[object Date]') {
      return isNaN(value) ? null : value.toJSON();
    }
    var proto = Object.getPrototypeOf(value);
    if (proto && Object.getPrototypeOf(proto)) return undefined;
    result = {};
    Object.keys(value).forEach(function(key) {
      part = key === '__proto__' ? undefined : plain(value[key], inside);
      if (part !== undefined) result[key] = part;
    });
    return result;
  }

  // How long, in milliseconds, a request may be sent again after it was sent first.
  // Servers remember their answers for five minutes and more.
  var RESEND = 4 * 60 * 1000;

  // How many fetches of an object are repeated after a reset.
  var MAX_FETCHES = 100;

  // Options that concern the page alone.
  var LOCAL = ['success', 'error', 'complete', 'beforeSend', 'context', 'collection', 'xhr', 'backend',
    'timeout', 'attrs', 'textStatus', 'errorThrown'];

  function sendable(options) {
    options = extend({}, options);
    LOCAL.forEach(function(name) { delete options[name]; });
    return plain(options, []);
  }

  // What the server sends is assigned key by key; a `__proto__` among the keys
  // would change what the attributes inherit.
  function clean(value) {
    if (!value || typeof value !== 'object') return value;
    if (hasOwn.call(value, '__proto__')) delete value['__proto__'];
    for (var key in value) clean(value[key]);
    return value;
  }

  function utf8Length(text) {
    var length = text.length;
    for (var i = 0; i < text.length; i++) {
      var code = text.charCodeAt(i);
      // Half a surrogate pair counts two, so that the pair counts its four.
      if (code > 0x7f) length += code > 0x7ff && (code < 0xd800 || code > 0xdfff) ? 2 : 1;
    }
    return length;
  }

  function failure(name, message, more) {
    return {error: extend({name: name, message: message}, more)};
  }

  function asFailure(error) {
    if (isObject(error)) return isObject(error.error) ? error : {error: error};
    return failure('InternalError', String(error));
  }

  // The id under which a collection knows a model, or would know one with these attributes.
  function modelId(collection, attrs, idAttribute) {
    return collection.modelId ? collection.modelId(attrs, idAttribute) : attrs[idAttribute];
  }

  // The id that a collection or model would give to a row as the server sent it.
  // A `parse` that renames the id is asked only when the row has none itself.
  function idOf(object, row) {
    var many = isCollection(object), Model = many && object.model.prototype;
    // A function that chooses the class does not tell its `idAttribute`; models that it made do.
    var sample = !many ? object : Model && Model.idAttribute ? Model : object.models[0] || {};
    var name = sample.idAttribute || 'id';
    var find = function(attrs) {
      if (!isObject(attrs)) return undefined;
      return many ? modelId(object, attrs, name) : attrs[name];
    };
    var id = find(row);
    if (id != null || !isObject(row) || !sample.parse) return id;
    return guard(function() { return find(sample.parse.call(object, extend({}, row), {parse: true})); });
  }

  // Connection
  // ----------

  // One `connect`. Before the first, collections gather in one without a socket.
  function Connection() {
    this.backends = {};
    this.socket = null;
  }

  extend(Connection.prototype, {
    start: function(socket) {
      var connection = this;
      this.socket = socket;

      // The socket given to the page stands for all of the connection: closing and
      // opening it again (say, to log out and in) does so for every backend.
      ['connect', 'open', 'disconnect', 'close'].forEach(function(name) {
        var original = socket[name], up = name === 'connect' || name === 'open';
        socket[name] = function() {
          connection.closed = !up;
          if (!up) connection.each(function(other) { if (other !== socket) other.disconnect(); });
          original.apply(socket, arguments);
          if (up) connection.wake();
          return socket;
        };
      });

      // A namespace that the server closed or refused tries again with the next connection.
      socket.io.on('open', function() { connection.wake(); });
      for (var name in this.backends) this.backends[name].start();
    },

    each: function(fn) {
      for (var name in this.backends) if (this.backends[name].socket) fn(this.backends[name].socket);
    },

    wake: function() {
      var connection = this;
      if (this.closed) return;
      this.each(function(socket) {
        if (!socket.active && socket !== connection.socket) socket.connect();
      });
    },

    backend: function(name) {
      name = name.replace(/^\//, '');
      if (!hasOwn.call(this.backends, name)) this.backends[name] = new Backend(this, name);
      return this.backends[name];
    }
  });

  var current = new Connection();

  // Backend
  // -------

  // One namespace of a connection: its requests, in the order they were made, and
  // its channels. `flying` requests were sent on the present connection and wait
  // for their answers; `queue` has not been sent on it.
  function Backend(connection, name) {
    this.connection = connection;
    this.name = name;
    this.channels = {};
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
        var channel = backend.channels[channelKey(name)];
        if (channel) channel.left(error);
      });
      if (this.socket.connected) this.up();
    },

    connected: function() {
      return !!this.socket && this.socket.connected;
    },

    each: function(fn) {
      for (var key in this.channels) fn.call(this, this.channels[key]);
    },

    channel: function(name) {
      var key = channelKey(name);
      return this.channels[key] || (this.channels[key] = new Channel(this, name));
    },

    up: function() {
      this.each(function(channel) {
        if (channel.state === 'refused') channel.state = 'idle';
        channel.refresh();
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
      this.each(function(channel) { channel.down(); });
    },

    // The server does not let this page into the namespace.
    refused: function(error) {
      var data = error && error.data;
      data = isObject(data) && data.error ? data : failure('Forbidden',
        error && error.message || 'the server refused a connection to "' + this.name + '"');
      this.each(function(channel) { channel.refused(data); });
    },

    synced: function(method, model, meta) {
      var change = {method: method, model: model, rev: meta.rev};
      if (meta.channel === undefined) {
        this.each(function(channel) { channel.arrived(change); });
      } else if (this.channels[channelKey(meta.channel)]) {
        this.channels[channelKey(meta.channel)].arrived(change);
      }
    },

    // Sends what may be sent, strictly in order: a request whose channel is not
    // heard yet, or whose model has no id yet, holds back those behind it.
    pump: function() {
      var socket = this.socket, connection = this.connection, channel;
      if (socket && !socket.active && !connection.closed && this.queue.length) socket.connect();
      while (this.connected() && this.queue.length) {
        channel = this.queue[0].channel;
        if (channel.state !== 'ready') return channel.ask();
        if (this.queue[0].early()) return;
        this.queue.shift().send();
      }
    }
  });

  // Channel
  // -------

  // One channel of a backend as this page hears it, shared by all collections and
  // models that use it; it is what `collection.backend` holds. `name` and `channel`
  // are those given, `connected` tells whether changes come in at present, and
  // `event` is the prefix of its events.
  //
  // `state` is idle, listening, ready, refused (by the server's stack) or left (the
  // server took us out). `rev` is the newest change seen, `heard` the newest one that
  // came as an event or lies before our listening: each is heard once.
  function Channel(backend, name) {
    this.backend = backend;
    this.name = backend.name;
    this.channel = name;
    this.event = 'backend';
    this.connected = false;
    this.state = 'idle';
    this.users = new Set();
    this.requests = new Set();
    this.forget();
    touch(this);
  }

  function channelKey(name) {
    return name == null ? 'none' : ':' + name;
  }

  extend(Channel.prototype, {
    forget: function() {
      this.epoch = null;
      this.rev = this.heard = 0;
      this.log = new Map();
      this.buffer = [];
    },

    // Calls a function with each registered collection and model.
    each: function(fn) {
      var channel = this;
      Array.from(this.users).forEach(function(holder) {
        var object = held(holder);
        if (!object || (holder !== object && shared(object))) channel.users.delete(holder);
        else if (channel.users.has(holder)) fn(object, states.get(object));
      });
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
      var channels = this.backend.channels, key = channelKey(this.channel);
      if (channels[key] === this) delete channels[key];
      if (this.backend.connected() && (this.state === 'ready' || this.state === 'listening')) {
        this.backend.socket.emit('leave', this.channel);
      }
      this.state = 'idle';
      this.connected = false;
      this.turn = null;
      this.forget();
    },

    listen: function() {
      var channel = this, turn = this.turn = {};
      var request = {channel: this.channel, client: client};
      if (this.epoch !== null) request.since = {epoch: this.epoch, rev: this.rev};
      this.state = 'listening';
      this.buffer = [];
      this.backend.socket.emit('listen', request, function(answer) {
        // Only the latest listen counts: we may have left or lost the connection.
        if (channel.turn !== turn) return;
        answer = clean(answer) || {};
        if (answer.error) channel.refused(answer); else channel.listened(answer);
        channel.backend.pump();
      });
    },

    listened: function(answer) {
      var channel = this, buffer = this.buffer, again = this.epoch !== null;
      var known = this.rev;
      this.event = answer.event || 'backend';
      this.state = 'ready';
      this.buffer = [];
      if (answer.epoch !== this.epoch || answer.reset) this.forget();
      this.epoch = answer.epoch === undefined ? null : answer.epoch;
      Array.from(this.requests).forEach(function(request) { request.doubt(); });

      if (again && answer.reset) {
        this.rev = this.heard = answer.rev || 0;
        this.receive({method: 'reset', model: null, rev: this.rev});
      } else {
        this.heard = known;
        (answer.missed || []).forEach(function(change) {
          channel.arrived({method: change[0], model: change[1], rev: (change[2] || {}).rev});
        });
        this.rev = this.heard = Math.max(this.rev, answer.rev || 0);
      }
      buffer.forEach(function(change) { channel.arrived(change); });

      this.connected = true;
      this.each(function(object, state) { channel.greet(object, state); });
    },

    // Tells an object, once a connection, that it is live.
    greet: function(object, state) {
      if (!this.connected || state.greeted) return;
      state.greeted = true;
      this.trigger(object, ':connect');
    },

    down: function() {
      var channel = this, was = this.connected;
      this.turn = null;
      this.connected = false;
      if (this.state === 'ready' || this.state === 'listening') this.state = 'idle';
      if (!was) return;
      this.each(function(object, state) {
        state.greeted = false;
        channel.trigger(object, ':disconnect');
      });
    },

    // Requests for a channel that may not be heard fail with the reason. The next
    // request, or the next connection, asks again.
    refused: function(error) {
      this.down();
      this.state = 'refused';
      this.each(function(object) {
        guard(function() { object.trigger('error', object, error, {}); });
      });
      Array.from(this.requests).forEach(function(request) {
        if (!request.flying) request.fail(error);
      });
    },

    // The server took us out. We stay out, also of the next connection, until a
    // request or `bindBackend` asks to be let in again.
    left: function(error) {
      var channel = this;
      this.down();
      this.state = 'left';
      this.each(function(object) {
        channel.trigger(object, ':leave', error);
      });
    },

    // A change from the server. While a listen is under way changes wait for it,
    // since its answer may bring older ones.
    arrived: function(change) {
      if (this.state === 'listening') return void this.buffer.push(change);
      if (this.state !== 'ready') return;
      if (change.rev != null) {
        if (change.rev <= this.heard) return;
        this.heard = change.rev;
      }
      this.receive(change);
    },

    // Applies a change to every object here, except to those it came from. (The model
    // that was saved may not be the one in its collection any more: a fetch with
    // `reset` makes new ones.)
    receive: function(change, origin) {
      var channel = this;
      this.record(change);
      this.each(function(object, state) {
        var own = origin && (object === origin.object || object === origin.collection);
        var twin = own && isCollection(object) && object.get(idOf(object, change.model));
        if (own && (!twin || twin === origin.object)) return;
        guard(function() {
          if (change.method === 'reset') channel.reset(object, state, change);
          else if (state.bound) channel.apply(object, change);
        });
        if (own) return;
        channel.trigger(object, '', change.method, change.model);
        channel.trigger(object, ':' + change.method, change.model);
      });
    },

    // What `bindBackend` does with a change. `parse` is applied as to a fetched row,
    // and `synced: true` tells handlers that the change came from elsewhere.
    apply: function(object, change) {
      var method = change.method, options = {parse: true, synced: true};
      var create = method === 'create', id = idOf(object, change.model);
      if (!create && method !== 'update' && method !== 'delete') return;
      // What is created may have no id, where there is no store, or none that can be told yet.
      if (id == null && !(create && isCollection(object))) return;

      if (!isCollection(object)) {
        if (':' + id !== ':' + object.id || this.newer(object, change.rev)) return;
        if (method === 'delete') object.trigger('destroy', object, object.collection, options);
        else object.set(object.parse(change.model, options), options);
        this.stamp(object, change.rev);
        return;
      }

      var model = object.get(id);
      if (model ? this.newer(model, change.rev) : !create) return;
      if (method === 'delete') return void object.remove(model, options);
      if (model) {
        var by = object.comparator;
        model.set(model.parse(change.model, options), options);
        if (by && model.hasChanged(typeof by === 'string' ? by : null)) object.sort();
      } else {
        feed(object, function() { return [change.model]; }, function() {
          object.add([change.model], options);
        });
        model = object.get(idOf(object, change.model));
      }
      if (model) this.stamp(model, change.rev);
    },

    // The content changed as a whole: to the models given, or to what a fetch finds.
    reset: function(object, state, change) {
      var rows = change.model, id = object.id;
      if (!Array.isArray(rows)) {
        this.refetch(object, state);
      } else if (state.bound && isCollection(object)) {
        this.refill(object, change.rev, rows, function() {
          object.set(rows, {parse: true, synced: true});
        });
      } else if (state.bound && !object.isNew()) {
        var row = rows.filter(function(item) { return ':' + idOf(object, item) === ':' + id; })[0];
        this.apply(object, {
          method: row ? 'update' : 'delete', model: row || object.attributes, rev: change.rev
        });
      }
    },

    // Repeats the fetches that made an object what it is, unless one waits to be sent. The
    // first of them removes what is gone; a bound model that is gone is destroyed.
    refetch: function(object, state) {
      var waits = this.backend.queue.some(function(request) {
        return request.method === 'read' && request.object === object;
      });
      if (waits || !state.fetched) return;
      state.fetched.forEach(function(options, i) {
        options = extend({}, options);
        if (i === 0) delete options.remove;
        options.error = function(model, failed) {
          if (isCollection(model) || !state.bound || failed.error.name !== 'NotFound') return;
          model.trigger('destroy', model, model.collection, {synced: true});
        };
        object.fetch(options);
      });
    },

    // ### No old over new
    //
    // An answer shows the store as of its `rev`, and events may have told newer
    // things by the time it comes. Two memories prevent that old overwrites new:
    //
    // Each model carries the `rev` of what was last applied to it. That keeps older
    // events and answers off it and costs nothing once the model is gone.
    //
    // It says nothing of models deleted meanwhile, nor of objects that do not follow
    // events. For them the channel logs the changes it saw while requests are under
    // way, the last state of each model, and an answer is brought up to date with
    // what in the log is newer. Every answer to a request has a `rev` no older than
    // what the page had seen when it first sent it, so changes up to that of the
    // oldest request under way can be forgotten, and all of them when there is none.

    stamp: function(model, rev) {
      if (rev != null) model._backendRev = {epoch: this.epoch, rev: rev};
    },

    newer: function(model, rev) {
      var last = model._backendRev;
      return !!last && rev != null && last.epoch === this.epoch && last.rev >= rev;
    },

    record: function(change) {
      if (!(change.rev != null)) return;
      if (change.rev > this.rev) this.rev = change.rev;
      var first = this.oldest(), log = this.log, method = change.method;
      if (!first) return;
      if (method === 'reset') {
        log.clear();
        log.set('reset', change);
      } else if (method === 'create' || method === 'update' || method === 'delete') {
        var id = idOf(first.object, change.model);
        var key = id == null ? 'rev' + change.rev : ':' + id, old = log.get(key);
        var model = change.model, merge = old && old.method !== 'delete' && method !== 'delete';
        if (merge) model = extend({}, old.model, model);
        // Deleted and added again, a key goes to the end: the log stays in order.
        log.delete(key);
        log.set(key, {method: merge ? old.method : method, model: model, rev: change.rev});
      }
    },

    // The request under way that was sent first. Requests are sent in the order in
    // which they were made, so it is the first of all, or there is none.
    oldest: function() {
      var first = this.requests.values().next().value;
      return first && first.sent ? first : null;
    },

    trim: function() {
      var first = this.oldest(), log = this.log;
      if (!first) return log.clear();
      for (var key; log.size; log.delete(key)) {
        key = log.keys().next().value;
        if (log.get(key).rev > first.since) return;
      }
    },

    later: function(rev) {
      if (rev == null || rev >= this.rev) return [];
      return Array.from(this.log.values()).filter(function(change) { return change.rev > rev; });
    },

    // Lets `act` set or reset a collection with an answer of this `rev`, brought up to
    // date on its way from `collection.parse` to the collection. `rows` is that answer
    // where it needs no parsing by the collection.
    refill: function(collection, rev, rows, act) {
      var channel = this, present = [], had = contents(collection);
      feed(collection, function(parse, answer, options) {
        var list = rows || parse.call(collection, answer, options);
        return Array.isArray(list) ? (present = channel.present(collection, list, rev, had)) : list;
      }, act);
      if (rev == null) return;
      var stamp = {epoch: this.epoch, rev: Math.max(rev, this.rev)};
      present.forEach(function(row) {
        var model = row instanceof Backbone.Model ? null : collection.get(idOf(collection, row));
        if (model) model._backendRev = stamp;
      });
    },

    // The rows of a collection as of `rev`, brought to the present. `had` is what it
    // contained before: a fetch with `reset` empties it first.
    present: function(collection, rows, rev, had) {
      var channel = this, at = {}, revs = [];
      var index = function() {
        at = {};
        rows.forEach(function(row, i) { at[':' + idOf(collection, row)] = i; });
      };
      rows = rows.slice();
      index();

      this.later(rev).forEach(function(change) {
        if (change.method === 'reset') {
          if (Array.isArray(change.model)) { rows = change.model.slice(); index(); }
          return;
        }
        var id = idOf(collection, change.model), key = ':' + id, i = at[key];
        if (id == null) return;
        if (change.method === 'delete') {
          if (i !== undefined) rows[i] = null;
          delete at[key];
        } else if (i !== undefined) {
          rows[i] = extend({}, rows[i], change.model);
          revs[i] = change.rev;
        } else if (change.method === 'create' && had[key]) {
          revs[at[key] = rows.push(change.model) - 1] = change.rev;
        }
      });

      // The page's own changes that are still on their way count as well: a model
      // being created stays, one being destroyed does not come back.
      this.requests.forEach(function(request) {
        var model = request.object, i;
        if (request.collection !== collection || model === collection || request.expired) return;
        i = at[':' + modelId(collection, model.attributes, model.idAttribute)];
        var creating = request.method === 'create' && model.isNew() && had[model.cid];
        if (creating && rows.indexOf(model) < 0) rows.push(model);
        if (request.method === 'delete' && !request.options.wait && i !== undefined) rows[i] = null;
      });

      return rows.map(function(row, i) {
        if (!row || row instanceof Backbone.Model) return row;
        var model = had[':' + idOf(collection, row)];
        var last = model && rev != null && model._backendRev;
        var old = last && last.epoch === channel.epoch && last.rev > (revs[i] || rev);
        return old ? model : row;
      }).filter(Boolean);
    },

    // Lets `act` set the answer to a save or fetch of one model, brought up to date on its
    // way through `model.parse`. Returns whether the model was deleted since.
    renew: function(model, answer, rev, options, act) {
      var key = ':' + (model.id != null ? model.id : idOf(model, answer));
      var last = model._backendRev;
      var old = last && rev != null && last.epoch === this.epoch && last.rev > rev;
      var later = this.later(rev).filter(function(change) {
        return change.method !== 'reset' && ':' + idOf(model, change.model) === key;
      });
      if (!old && !later.length) {
        act(answer);
        this.stamp(model, rev);
        return false;
      }
      // Backbone asks `parse` unless the options say not to; here it always has to.
      var raw = options.parse === false, asked = override(options, 'parse', true);
      var parse = raw ? function(row) { return row; } : model.parse;
      var restore = override(model, 'parse', function(row, given) {
        restore();
        asked();
        var attrs = old ? extend({}, model.attributes) : parse.call(model, row, given);
        later.forEach(function(change) {
          if (change.method !== 'delete') attrs = extend({}, attrs, parse.call(model, change.model, given));
        });
        return attrs;
      });
      try { act(answer); } finally { restore(); asked(); }
      this.stamp(model, Math.max(rev, old ? last.rev : 0, later.length ? later[later.length - 1].rev : 0));
      return later.length > 0 && later[later.length - 1].method === 'delete';
    }
  });

  // A collection's models by id and by cid.
  function contents(collection) {
    var had = {};
    collection.models.forEach(function(model) {
      var id = modelId(collection, model.attributes, model.idAttribute);
      had[model.cid] = model;
      if (id != null) had[':' + id] = model;
    });
    return had;
  }

  // Runs `act`, in which a collection sets an answer, with `rows` in place of what its
  // `parse` returns. Models among the rows are in place and not parsed again.
  function feed(collection, rows, act) {
    var parse = collection.parse, restores = [];
    restores.push(override(collection, 'parse', function(answer, options) {
      restores[0]();
      var list = rows(parse, answer, options);
      (Array.isArray(list) ? list : []).forEach(function(row) {
        if (row instanceof Backbone.Model) {
          restores.push(override(row, 'parse', function() { return row.attributes; }));
        }
      });
      return list;
    }));
    try { act(); } finally { restores.forEach(function(restore) { restore(); }); }
  }

  // Request
  // -------

  // One call of `Backbone.sync`. What is sent is fixed at once: the model may change
  // before the network is back, and the same id must not mean two things.
  function Request(channel, method, object, options) {
    var attrs = options.attrs, id = object.idAttribute;
    if (isCollection(object)) {
      attrs = attrs || {};
    } else {
      attrs = attrs ? extend({}, attrs) : object.toJSON(options);
      if (options.attrs && object.id != null && attrs[id] == null) attrs[id] = object.id;
    }
    this.channel = channel;
    this.method = method;
    this.object = object;
    this.collection = isCollection(object) ? object : object.collection;
    this.creates = method === 'create' && !isCollection(object) && object.isNew();
    this.options = options;
    this.message = jsonCopy({
      id: page + '-' + ++counter,
      method: method,
      model: attrs,
      options: sendable(options),
      channel: channel.channel
    });
  }

  extend(Request.prototype, {
    start: function() {
      var request = this, options = this.options, $ = Backbone.$;
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

      var limits = [options.timeout, this.channel.backend.connection.timeout, Backbone.io.timeout];
      var timeout = limits.filter(function(limit) { return limit != null; })[0];
      // A timer that is set for longer than it can count would go off at once.
      if (timeout > 0 && timeout <= 0x7fffffff) {
        this.timer = setTimeout(function() { request.expire(); }, timeout);
      }

      this.channel.requests.add(this);
      this.channel.backend.queue.push(this);
      this.channel.backend.pump();
      options.xhr = this.promise;
      this.object.trigger('request', this.object, this.promise, options);
      return this.promise;
    },

    // Is it to save a model that is being created? It waits for the model's id then, or
    // there would be two.
    early: function() {
      var request = this;
      return this.creates && this.channel.backend.flying.some(function(other) {
        return other.creates && other.object === request.object;
      });
    },

    // The model got its id while this waited.
    updates: function() {
      var object = this.object, patch = this.options.patch, message = this.message;
      this.creates = false;
      this.method = message.method = patch ? 'patch' : 'update';
      message.model = jsonCopy(extend({}, patch ? {} : object.toJSON(this.options), message.model));
      message.model[object.idAttribute] = object.id;
    },

    send: function() {
      var request = this, channel = this.channel, socket = channel.backend.socket;
      if (this.creates && !this.sent && !this.object.isNew()) this.updates();
      var limit = socket.io.engine && (socket.io.engine._maxPayload || socket.io.engine.maxPayload);

      // A bigger message would make the server close the connection, every time anew.
      // Socket.IO's own framing around it: packet type, namespace, ack id, event name.
      var size = utf8Length(JSON.stringify(this.message)) + utf8Length(channel.name) + 40;
      if (limit > 0 && size > limit) {
        var error = failure('TooLarge', 'the request has ' + size + ' bytes, the server takes ' + limit);
        return void soon(function() { request.fail(error); });
      }

      if (!this.sent || this.epoch !== channel.epoch) this.since = channel.rev;
      if (!this.sent) this.sentAt = Date.now();
      this.epoch = channel.epoch;
      this.sent = this.flying = true;
      channel.backend.flying.push(this);
      socket.emit('sync', this.message, function(error, result, meta) {
        remove(channel.backend.flying, request);
        request.flying = false;
        if (request.expired) request.late(error, clean(result), meta || {});
        else if (error) request.fail(asFailure(error));
        else request.succeed(clean(result), meta || {});
        channel.backend.pump();
      });
    },

    // The change that a successful write made, or null for a read.
    change: function(result, rev) {
      var method = this.method === 'patch' ? 'update' : this.method;
      if (method === 'read') return null;
      var complete = isObject(result) && idOf(this.object, result) != null;
      var model = complete ? result : extend({}, this.message.model, isObject(result) ? result : null);
      return {method: method, model: model, rev: rev};
    },

    succeed: function(result, meta) {
      if (!this.settle()) return;
      var request = this, channel = this.channel, object = this.object, options = this.options;
      var rev = meta.epoch === undefined || meta.epoch === channel.epoch ? meta.rev : null;
      var act = function(answer) {
        if (options.success) options.success.call(options.context, answer);
      };

      guard(function() {
        if (object === request.collection) {
          if (request.method === 'read') request.fetched();
          var raw = options.parse === false && Array.isArray(result);
          if (request.method !== 'read') act(result);
          else if (raw) act(channel.present(object, result, rev, contents(object)));
          else channel.refill(object, rev, null, function() { act(result); });
        } else if (request.method === 'delete') {
          act(result);
        } else {
          if (request.method === 'create') request.unite(result);
          if (request.method === 'read') request.fetched();
          var gone = channel.renew(object, result, rev, options, act);
          if (gone && request.collection) request.collection.remove(object, {synced: true});
          else if (request.method === 'create') request.keep();
        }
      });

      // The other collections of the page hear of it like those elsewhere, unless it
      // was sent again and they have heard of it already.
      var change = this.change(result, rev);
      if (change && (rev == null || rev > channel.rev)) channel.receive(change, this);
      guard(function() { request.deferred.resolve(result); });
      this.release();
    },

    // Remembers how an object was fetched, to do it again after a reset. With `remove: false`
    // (further pages of a list, say) it is one more fetch, else it stands for all before. Who
    // asks for something new every minute keeps the last ones.
    fetched: function() {
      var state = states.get(this.object), options = this.message.options;
      if (!state) return;
      state.fetched = (options.remove === false && state.fetched || []).filter(function(other) {
        return JSON.stringify(other) !== JSON.stringify(options);
      }).concat([options]).slice(-MAX_FETCHES);
    },

    // A create that was sent again may have come as a missed change, and so as another
    // model, before its answer. There is only one.
    unite: function(result) {
      var collection = this.collection, object = this.object, id = idOf(object, result);
      var twin = collection && id != null && collection.get(id);
      if (twin && twin !== object && (this.options.wait || collection.get(object))) {
        collection.remove(twin, {synced: true});
      }
    },

    // A model that the page removed while it was being created is on the backend all the
    // same, and so in a collection that follows it.
    keep: function() {
      var collection = this.collection, state = collection && states.get(collection);
      if (!state || !state.bound || collection.get(this.object)) return;
      collection.add(this.object, {synced: true});
    },

    fail: function(error) {
      if (!this.settle()) return;
      var request = this, options = this.options;
      guard(function() {
        if (options.error) options.error.call(options.context, error);
      });
      guard(function() { request.deferred.reject(error); });
      this.release();
    },

    // Sent before and not answered, a write is sent again only where the server is
    // sure to know it by its id: not to one that lost its memory, nor after long. What
    // waits for a model that may have been created fails with it.
    doubt: function() {
      if (!this.sent || this.flying || this.method === 'read') return;
      if (this.epoch === this.channel.epoch && Date.now() - this.sentAt < RESEND) return;
      var request = this, error = failure('Unavailable',
        'the answer was lost; the change may or may not have been made', {sent: true});
      Array.from(this.channel.requests).forEach(function(other) {
        var waits = request.creates && other.creates && other.object === request.object;
        if (other === request || waits) other.fail(error);
      });
    },

    // A request is settled once.
    settle: function() {
      if (this.settled) return false;
      clearTimeout(this.timer);
      remove(this.channel.backend.queue, this);
      return (this.settled = true);
    },

    // Out of time. Unsent it is dropped for good; sent, the answer may still come.
    expire: function() {
      var sent = !!this.sent, flying = this.flying;
      this.expired = true;
      this.fail(failure('Timeout', sent
        ? 'no answer in time; the change may or may not have been made'
        : 'not connected in time; the request was not sent', {sent: sent}));
      if (flying) this.channel.requests.add(this);
    },

    // The answer to a request that was given up: its change is one of others, except
    // that a model still in place, waiting for its id, receives it.
    late: function(error, result, meta) {
      var channel = this.channel, object = this.object;
      var change = error ? null : this.change(result, meta.rev);
      if (change && (meta.rev == null || meta.rev > channel.rev)) {
        var there = !this.collection || this.collection.get(object);
        var adopt = this.method === 'create' && object.isNew() && there;
        if (adopt) guard(function() { object.set(object.parse(change.model, {}), {synced: true}); });
        channel.receive(change, adopt ? this : null);
      }
      this.release();
    },

    release: function() {
      this.channel.requests.delete(this);
      this.channel.trim();
      touch(this.channel);
    }
  });

  function remove(list, item) {
    var i = list.indexOf(item);
    if (i >= 0) list.splice(i, 1);
  }

  // Backbone.sync
  // -------------

  // Objects without a backend keep the sync they had.
  var originalSync = Backbone.sync;

  Backbone.sync = function(method, object, options) {
    var channel = object && channelOf(object);
    if (!channel) return originalSync.apply(this, arguments);
    return new Request(channel, method, object, options || {}).start();
  };

  // Which objects hear which channel
  // --------------------------------

  // What is known of a collection, or of a model that stands alone: whether it is
  // `bound`, `off` (unbound on purpose), the channel it is registered with and how,
  // and how it was last `fetched`.
  var states = new WeakMap();

  function stateOf(object) {
    if (!states.has(object)) states.set(object, {});
    return states.get(object);
  }

  // Collections are registered from construction until `unbindBackend`, models that
  // stand alone as well. A model that is not bound is held weakly: a page makes and
  // drops many of them. What a Set of users holds is therefore an object or a WeakRef.
  function held(holder) {
    return typeof WeakRef === 'function' && holder instanceof WeakRef ? holder.deref() : holder;
  }

  // Resolves `object.backend`, a name, `{name, channel}` or a function that returns
  // either, to a channel of the latest connection, and leaves that in its place.
  function resolve(object) {
    var given = object.backend, channel = null;
    if (given instanceof Channel) {
      channel = given.backend.channel(given.channel);
    } else {
      if (typeof given === 'function') given = given.call(object);
      if (typeof given === 'string') given = {name: given};
      if (given && typeof given.name === 'string') {
        channel = current.backend(given.name).channel(given.channel == null ? null : String(given.channel));
      }
    }
    if (channel && channel !== object.backend) own(object, channel);
    return channel;
  }

  // The class may define `backend` as a getter, so plain assignment will not do.
  function own(object, backend) {
    Object.defineProperty(object, 'backend', {
      value: backend, configurable: true, enumerable: true, writable: true
    });
  }

  // A model's own backend comes first, and without one that of its collection. If both
  // name the same, the collection knows the channel.
  function channelOf(object) {
    var mine = resolve(object), theirs = isCollection(object) ? null : shared(object);
    return mine && theirs ? (mine.name === theirs.name ? theirs : mine) : mine || theirs;
  }

  // The channel a model has through its collection.
  function shared(object) {
    return !isCollection(object) && object.collection ? resolve(object.collection) : null;
  }

  function attach(object) {
    var state = states.get(object), channel;
    if (!state && !('backend' in object)) return;
    state = stateOf(object);
    if (state.off) return;
    channel = state.bound ? channelOf(object) : shared(object) ? null : resolve(object);
    if (channel) channel.ask();
    if (state.channel === channel && !(state.bound && state.holder !== object)) return;
    var greeted = state.greeted && state.channel === channel;
    detach(object, state);
    if (!channel) return;
    var weak = !state.bound && !isCollection(object) && typeof WeakRef === 'function';
    state.channel = channel;
    state.holder = weak ? new WeakRef(object) : object;
    channel.users.add(state.holder);
    // Now and then, let go of what the garbage collector took.
    if (weak && channel.users.size % 256 === 0) channel.each(function() {});
    state.greeted = greeted;
    channel.greet(object, state);
  }

  function detach(object, state) {
    if (!state.channel) return;
    state.channel.users.delete(state.holder);
    touch(state.channel);
    state.channel = state.holder = null;
    state.greeted = false;
  }

  // Fresh objects and channels whose users changed are looked after once the running
  // code is done: fields of an ES6 class, say, are set after Backbone's constructor.
  var fresh = [], touched = new Set(), scheduled = false;

  function soon(fn) {
    Promise.resolve().then(function() { guard(fn); });
  }

  function touch(channel) {
    touched.add(channel);
    schedule();
  }

  function schedule() {
    if (scheduled) return;
    scheduled = true;
    soon(function() {
      var objects = fresh, channels;
      scheduled = false;
      fresh = [];
      objects.forEach(function(object) { guard(function() { attach(object); }); });
      channels = Array.from(touched);
      touched.clear();
      channels.forEach(function(channel) { channel.refresh(); });
    });
  }

  var Binding = {
    // Follows the backend: adds what is created, updates and removes what is there.
    // On a model: updates it, and triggers `destroy` when it is deleted.
    bindBackend: function() {
      var state = stateOf(this);
      state.bound = true;
      state.off = false;
      fresh.push(this);
      schedule();
      return this;
    },

    // Hears nothing more, neither events nor changes. The last user of a channel who
    // goes makes the page leave it.
    unbindBackend: function() {
      var state = stateOf(this);
      state.bound = false;
      state.off = true;
      detach(this, state);
      return this;
    }
  };

  extend(Backbone.Collection.prototype, Binding);
  extend(Backbone.Model.prototype, Binding);

  // Construction
  // ------------

  // Backbone's constructors stay as they are, so that classes which exist already
  // take part. Both call a method of the object before `initialize`: a collection
  // `_reset`, a model `set`; the first call tells that an object is being made.

  var collectionReset = Backbone.Collection.prototype._reset;

  Backbone.Collection.prototype._reset = function() {
    if (this.models === undefined) {
      // `initialize` comes next and has the constructor's arguments.
      var restore = override(this, 'initialize', function(models, options) {
        restore();
        born(this, options);
        return this.initialize.apply(this, arguments);
      });
    }
    return collectionReset.apply(this, arguments);
  };

  var modelSet = Backbone.Model.prototype.set;

  Backbone.Model.prototype.set = function(key, value, options) {
    if (this._previousAttributes === undefined) {
      born(this, key == null || typeof key === 'object' ? value : options);
    }
    return modelSet.apply(this, arguments);
  };

  function born(object, options) {
    var collection = options && options.collection;

    // A collection hands its own options down to the models it makes.
    var inherited = collection && states.get(collection);
    if (options && options.backend && !(inherited && inherited.given === options.backend)) {
      own(object, options.backend);
      stateOf(object).given = options.backend;
    }
    // Models in a collection cost nothing.
    if (collection && ('backend' in collection || !('backend' in object))) return;

    // A function or a getter may need what the constructor has not set yet.
    for (var holder = object; holder; holder = Object.getPrototypeOf(holder)) {
      var property = Object.getOwnPropertyDescriptor(holder, 'backend');
      if (!property) continue;
      if (property.value && typeof property.value !== 'function') resolve(object);
      break;
    }
    fresh.push(object);
    schedule();
  }

  Backbone.io.VERSION = '0.1.0';
  return Backbone.io;
});
