// Which model is meant. Backbone keeps ids and cids in one plain object and evaluates
// whatever it is given as a key of it: a row with the id "c1" or "undefined", or with an
// attribute `cid`, `toString` or `attributes`, finds a model that is not its own. Here
// ids are looked up as ids, cids as cids, and what was found is verified.
import Backbone from 'backbone';
import {extend, guard, has, isObject} from './util.js';

export function isCollection(object) {
  return object instanceof Backbone.Collection;
}

// The id under which a collection knows a model, or would know one with these attributes.
export function modelId(collection, attrs, idAttribute) {
  return collection.modelId ? collection.modelId(attrs, idAttribute) : attrs[idAttribute];
}

// The id that a collection or model would give to a row as the server sent it.
// A `parse` that renames the id is asked only when the row has none itself.
export function idOf(object, row) {
  var many = isCollection(object), sample = sampleOf(object);
  var name = sample.idAttribute || 'id';
  var find = function(attrs) {
    if (!isObject(attrs)) return undefined;
    return many ? modelId(object, attrs, name) : attrs[name];
  };
  var id = find(row);
  if (id != null || !isObject(row) || !sample.parse) return id;
  return guard(function() { return find(sample.parse.call(object, extend({}, row), {parse: true})); });
}

// The id that a row names under a model's `idAttribute`: nothing of the page's is asked.
export function idIn(object, row) {
  return isObject(row) ? row[object && sampleOf(object).idAttribute || 'id'] : undefined;
}

// What tells the `idAttribute` of an object's models. A function that chooses their class does
// not; models that it made do.
function sampleOf(object) {
  if (!isCollection(object)) return object;
  var Model = object.model.prototype;
  return Model && Model.idAttribute ? Model : object.models[0] || {};
}

// Ids as keys: Backbone holds 1 and "1" to be one id. What cannot be an id has no key.
export function keyOf(id) {
  return typeof id === 'string' || typeof id === 'number' ? ':' + id : null;
}

// The key of a row, or null.
export function rowKey(object, row) {
  return keyOf(idOf(object, row));
}

function modelKey(collection, model) {
  return keyOf(modelId(collection, model.attributes, model.idAttribute)) || keyOf(model.id);
}

// A collection's models by key and by cid.
export function contents(collection) {
  var had = new Map();
  collection.models.forEach(function(model) {
    var key = modelKey(collection, model);
    had.set(model.cid, model);
    if (key) had.set(key, model);
  });
  return had;
}

// `collection.get`, but sure. A `strict` one knows attributes by their id alone, as is
// right for what the server sends.
export function find(collection, what, strict) {
  if (what == null) return undefined;
  if (what instanceof Backbone.Model) return findModel(collection, what);
  var attrs = typeof what === 'object', sample = collection.model.prototype || {};
  var found = findId(collection, attrs ? modelId(collection, what, sample.idAttribute || 'id') : what);
  return found || strict ? found : findCid(collection, attrs ? what.cid : what);
}

function entry(collection, name) {
  return has(collection._byId, name) ? collection._byId[name] : undefined;
}

// Could a name be a cid? Only then has Backbone's index to be doubted.
function cidLike(collection, name) {
  var prefix = collection.model.prototype && collection.model.prototype.cidPrefix || 'c';
  return typeof name === 'string' && name.indexOf(prefix) === 0 && /^\d+$/.test(name.slice(prefix.length));
}

function search(collection, name, found, fits) {
  if (found && fits(found)) return found;
  return found || cidLike(collection, name) ? collection.models.filter(fits)[0] : undefined;
}

function findId(collection, id) {
  var key = keyOf(id);
  return key ? search(collection, id, entry(collection, id), function(model) {
    return modelKey(collection, model) === key;
  }) : undefined;
}

function findCid(collection, cid) {
  return typeof cid === 'string' ? search(collection, cid, entry(collection, cid), function(model) {
    return model.cid === cid;
  }) : undefined;
}

function findModel(collection, model) {
  var found = entry(collection, model.cid);
  if (found === model) return model;
  // Another model's id may have taken, or have taken away, what belonged to this cid.
  if ((found || model.collection === collection) && collection.models.indexOf(model) >= 0) return model;
  return findId(collection, modelId(collection, model.attributes, model.idAttribute));
}

// Models whose cid equals one of these ids, be it their own, get another for a while: Backbone
// 1.1 mixes up ids and cids when it sets a list, too. The function returned gives the cids back.
// They are looked for among the models: in Backbone's index such an id may have taken the cid's
// place.
export function aside(collection, ids) {
  var restores = [], byCid = null;
  ids.filter(function(id) { return cidLike(collection, id); }).forEach(function(id) {
    byCid = byCid || new Map(collection.models.map(function(model) { return [model.cid, model]; }));
    var model = byCid.get(id), index = collection._byId;
    if (!model) return;
    var its = modelKey(collection, model) === keyOf(id);
    model.cid = 'set aside: ' + id;
    index[model.cid] = model;
    if (index[id] === model && !its) delete index[id];
    restores.push(function() {
      delete collection._byId[model.cid];
      model.cid = id;
      if (collection.models.indexOf(model) >= 0 && !entry(collection, id)) collection._byId[id] = model;
    });
  });
  return function() { restores.forEach(function(restore) { restore(); }); };
}
