// What one `connect` made. Before the first, collections gather in one without a socket.
import Backbone from 'backbone';
import {extend, guard, has, random} from './util.js';
import {findIO} from './io.js';
import {Backend} from './backend.js';
import {check} from './options.js';
import {warn} from './warn.js';

// How long a page may use backends without connecting before it is told.
var FORGOTTEN = 5000;

// `client` is its secret name, under which the server remembers its answers: what one
// connection has got is not forgotten for another.
function Connection() {
  this.client = random(24);
  this.backends = {};
  this.socket = null;
}

var current = new Connection();

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
export function connect(url, options) {
  var io = findIO();
  if (!io) {
    throw new Error('Backbone.io.connect needs the Socket.IO client: load socket.io.js first ' +
      '(with RequireJS as the module "socketio" or "socket.io-client")');
  }
  var given = (url && typeof url === 'object' ? url : options) || {};
  var settings = extend({}, given);
  check(given);

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

// The latest connection.
export function latest() {
  return current;
}

// A backend of the latest connection.
export function backend(name) {
  return current.backend(name);
}

// Socket.IO falls back where a WebSocket is refused, but not where a proxy lets it
// open and nothing comes through, which ends in a timeout. The next attempt then
// begins with the other transport. A server that is away is no reason for that, and
// the order holds for one connection only: where long-polling works just halfway
// (several machines, no sticky sessions) nobody stays with it.
function alternate(manager) {
  var order = manager.opts.transports;
  manager.on('error', function(error) {
    if (error.message !== 'timeout') return;
    manager.opts.transports = manager.opts.transports.slice().reverse();
  });
  manager.on('close', function() { manager.opts.transports = order; });
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

    // Sockets of Socket.IO 0.9 told of a reconnect themselves, with the transport.
    socket.io.on('reconnect', function(attempts) {
      var transport = socket.io.engine && socket.io.engine.transport;
      socket.listeners('reconnect').forEach(function(listener) {
        guard(function() { listener.call(socket, transport ? transport.name : '', attempts); });
      });
    });
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
    if (has(this.backends, name)) return this.backends[name];
    if (!this.socket) this.expect(name);
    return (this.backends[name] = new Backend(this, name));
  },

  // Somebody uses a backend: sooner or later there has to be a connection.
  expect: function(name) {
    var connection = this, timer;
    if (this.expecting) return;
    this.expecting = true;
    timer = setTimeout(function() {
      if (!connection.socket) {
        warn('the backend "' + name + '" is used, but nothing connects to the server. ' +
          'Call Backbone.io.connect() once; until then nothing is sent and nothing heard.');
      }
    }, FORGOTTEN);
    if (timer && timer.unref) timer.unref(); // Node would wait for it
  },

  // Milliseconds for one request: its own option, the connection's, or everyone's.
  timeoutOf: function(options) {
    return [options.timeout, this.timeout, Backbone.io.timeout].filter(function(limit) {
      return limit != null;
    })[0];
  }
});
