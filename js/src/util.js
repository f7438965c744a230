// What has nothing to do with Backbone or Socket.IO.

var hasOwn = Object.prototype.hasOwnProperty;

export function has(object, key) {
  return hasOwn.call(object, key);
}

// Like `_.extend`. Underscore stays Backbone's own affair: this file works with
// whichever Backbone was given.
export function extend(target) {
  for (var i = 1; i < arguments.length; i++) {
    for (var key in arguments[i]) {
      if (has(arguments[i], key) && key !== '__proto__') target[key] = arguments[i][key];
    }
  }
  return target;
}

export function isObject(value) {
  return !!value && typeof value === 'object' && !Array.isArray(value);
}

export function remove(list, item) {
  var i = list.indexOf(item);
  if (i >= 0) list.splice(i, 1);
}

// Runs a handler of the page. Its exception is reported as uncaught, as if the
// browser had called it, and does not stop the changes that come after it.
export function guard(fn) {
  try {
    return fn();
  } catch (error) {
    setTimeout(function() { throw error; });
  }
}

// Runs a function once the running code is done.
export function soon(fn) {
  Promise.resolve().then(function() { guard(fn); });
}

// Puts a property on an object for a while; the function returned takes it off.
export function override(object, name, value) {
  var own = has(object, name), old = object[name], done = false;
  object[name] = value;
  return function() {
    if (done) return;
    done = true;
    if (own) object[name] = old; else delete object[name];
  };
}

// A string that nobody can guess, where the browser has the means.
export function random(bytes) {
  var values = [], text = '', i;
  if (typeof crypto === 'object' && crypto.getRandomValues) {
    values = crypto.getRandomValues(new Uint8Array(bytes));
  } else {
    for (i = 0; i < bytes; i++) values.push(Math.floor(Math.random() * 256));
  }
  for (i = 0; i < bytes; i++) text += (values[i] + 256).toString(16).slice(1);
  return text;
}

// JSON has no integers beyond 2^53 that browsers read without rounding: they travel as
// strings.
export function jsonCopy(value) {
  return JSON.parse(JSON.stringify(value, function(key, part) {
    return typeof part === 'bigint' ? fromBigInt(part) : part;
  }));
}

function fromBigInt(value) {
  var number = Number(value);
  return Math.abs(number) <= 9007199254740991 ? number : String(value);
}

// The part of a value that survives JSON: functions, DOM nodes, request objects,
// models, collections, other instances and cycles give `undefined`.
export function plain(value, parents) {
  if (value === null || typeof value === 'string' || typeof value === 'boolean') return value;
  if (typeof value === 'number') return isFinite(value) ? value : undefined;
  if (typeof value === 'bigint') return fromBigInt(value);
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

// What the server sends is assigned key by key; a `__proto__` among the keys
// would change what the attributes inherit.
export function clean(value) {
  if (!value || typeof value !== 'object') return value;
  if (has(value, '__proto__')) delete value['__proto__'];
  for (var key in value) clean(value[key]);
  return value;
}

export function utf8Length(text) {
  var length = text.length;
  for (var i = 0; i < text.length; i++) {
    var code = text.charCodeAt(i);
    // Half a surrogate pair counts two, so that the pair counts its four.
    if (code > 0x7f) length += code > 0x7ff && (code < 0xd800 || code > 0xdfff) ? 2 : 1;
  }
  return length;
}

// Errors as pages get them: `{error: {name, message, ...}}`.
export function failure(name, message, more) {
  return {error: extend({name: name, message: message}, more)};
}

// Whether a failure says that the server, or its database, is away, and may be back any moment; by
// REST it is what jQuery tells.
export function isAway(failed) {
  if (!failed) return false;
  if (failed.status === 0) return failed.statusText !== 'abort';
  return failed.status >= 502 && failed.status <= 504 || isNamed(failed, 'Unavailable');
}

// Whether a failure says that there is no such model.
export function isMissing(failed) {
  return !!failed && (failed.status === 404 || isNamed(failed, 'NotFound'));
}

function isNamed(failed, name) {
  return !!failed.error && failed.error.name === name;
}

// Milliseconds until it is worth asking again; not the same for every page.
export function moment() {
  return 500 + Math.random() * 1000;
}

export function asFailure(error) {
  if (isObject(error)) return isObject(error.error) ? error : {error: error};
  return failure('InternalError', String(error));
}
