// Which objects hear which channel.
import Backbone from 'backbone';
import {extend, override} from './util.js';
import {first, touch} from './schedule.js';
import {known, stateOf, weakly} from './states.js';
import {isCollection} from './identity.js';
import {Subscription} from './subscription.js';
import {Request} from './request.js';
import {RestRequest, adopt} from './rest.js';
import {backend} from './connection.js';
import {warn} from './warn.js';

// What may stand in `backend: {...}`.
var KEYS = ['name', 'channel', 'sync', 'transform'];

// Resolves `object.backend`, a name, `{name, channel}` or a function that returns
// either, to a subscription of the latest connection, and leaves that in its place.
function resolve(object) {
  var given = object.backend, subscription = null;
  if (given instanceof Subscription) {
    subscription = given.backend.subscription(given.channel);
  } else {
    if (typeof given === 'function') given = given.call(object);
    if (typeof given === 'string') given = {name: given};
    if (given && typeof given.name === 'string') {
      check(given);
      var name = given.channel == null ? null : String(given.channel);
      subscription = backend(given.name).subscription(name);
      if (given.sync === false) stateOf(object).follow = true;
      if (given.transform) stateOf(object).transform = given.transform;
    }
  }
  if (subscription && subscription !== object.backend) own(object, subscription);
  return subscription;
}

function check(given) {
  var odd = Object.keys(given).filter(function(key) { return KEYS.indexOf(key) < 0; });
  if (odd.length) {
    warn('"' + odd.join('", "') + '" of the backend "' + given.name + '" means nothing: `backend` has ' +
      KEYS.join(', ') + '. Is it misspelt?');
  }
}

// The class may define `backend` as a getter, so plain assignment will not do.
function own(object, value) {
  Object.defineProperty(object, 'backend', {
    value: value, configurable: true, enumerable: true, writable: true
  });
}

// Whose backend counts: a model's own comes first, and without one that of its collection. If
// both name the same, the collection knows the channel.
function holderOf(object) {
  var mine = resolve(object), theirs = isCollection(object) ? null : shared(object);
  return mine && !(theirs && theirs.name === mine.name) ? object : theirs ? object.collection : null;
}

function subscriptionOf(object) {
  var holder = holderOf(object);
  return holder && resolve(holder);
}

// The subscription that a model has through its collection.
function shared(object) {
  return !isCollection(object) && object.collection ? resolve(object.collection) : null;
}

// Whether a backend keeps a model.
export function follows(model) {
  return 'backend' in model || !!model.collection && 'backend' in model.collection;
}

function attach(object) {
  var state = known(object), subscription;
  if (!state && !('backend' in object)) return;
  state = stateOf(object);
  if (state.off) return;
  subscription = state.bound ? subscriptionOf(object) : shared(object) ? null : resolve(object);
  if (subscription) subscription.ask();
  else if (state.bound) {
    warn('bindBackend() of ' + (isCollection(object) ? 'a collection' : 'a model') + ' without a backend ' +
      'does nothing. Give it one: `backend: \'name\'` in its class, or {backend: \'name\'} as option.');
  }
  if (state.subscription === subscription && !(state.bound && state.holder !== object)) return;
  var greeted = state.greeted && state.subscription === subscription;
  detach(object, state);
  if (!subscription) return;
  var weak = !state.bound && !isCollection(object);
  state.subscription = subscription;
  state.holder = weak ? weakly(object) : object;
  subscription.users.add(state.holder);
  // Now and then, let go of what the garbage collector took.
  if (weak && subscription.users.size % 256 === 0) subscription.each(function() {});
  state.greeted = greeted;
  subscription.greet(object, state);
}

function detach(object, state) {
  if (!state.subscription) return;
  state.subscription.users.delete(state.holder);
  touch(state.subscription);
  state.subscription = state.holder = null;
  state.greeted = false;
}

// Objects without a backend keep the sync they had.
export function installSync() {
  var original = Backbone.sync;

  Backbone.sync = function(method, object, options) {
    var holder = object && holderOf(object), subscription = holder && resolve(holder);
    if (!subscription) return original.apply(this, arguments);
    options = options || {};
    if (!stateOf(holder).follow) return new Request(subscription, method, object, options).start();
    return new RestRequest(subscription, method, object, options).send(function() {
      return original.call(Backbone, method, object, options);
    });
  };
}

// Lets a collection or model that reads and writes by REST, in whatever way, follow a backend.
// `options` may have a `transform`, which makes of a row as the backend has it what the REST
// views send, and `parse` expects.
export function follow(object, given, options) {
  var spec = extend({}, typeof given === 'string' ? {name: given} : given, options, {sync: false});
  own(object, spec);
  adopt(object, resolve(object));
  return object.bindBackend();
}

export var Binding = {
  // Follows the backend: adds what is created, updates and removes what is there.
  // On a model: updates it, and triggers `destroy` when it is deleted.
  bindBackend: function() {
    var object = this, state = stateOf(this);
    state.bound = true;
    state.off = false;
    first(function() { attach(object); });
    return this;
  },

  // Hears nothing more, neither events nor changes. The last user of a channel who
  // goes makes the page leave it.
  unbindBackend: function() {
    var state = stateOf(this);
    state.bound = false;
    state.off = true;
    state.held = undefined; // it was to be heard
    detach(this, state);
    return this;
  }
};

// Backbone's constructors stay as they are, so that classes which exist already
// take part. Both call a method of the object before `initialize`: a collection
// `_reset`, a model `set`; the first call tells that an object is being made.
export function installBirth() {
  var reset = Backbone.Collection.prototype._reset;

  Backbone.Collection.prototype._reset = function() {
    if (this.models === undefined) {
      // `initialize` comes next and has the constructor's arguments.
      var restore = override(this, 'initialize', function(models, options) {
        restore();
        born(this, options);
        return this.initialize.apply(this, arguments);
      });
    }
    return reset.apply(this, arguments);
  };

  extend(Backbone.Collection.prototype, Binding);
  extend(Backbone.Model.prototype, Binding);
}

export function born(object, options) {
  var collection = options && options.collection;

  // A collection hands its own options down to the models it makes.
  var inherited = collection && known(collection);
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
  first(function() { attach(object); });
}
