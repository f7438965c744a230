// For the console: what a page has under way, and why its models are what they are.
import {latest} from './connection.js';
import {idIn, isCollection, keyOf} from './identity.js';
import {revOf, shadowOf} from './attributes.js';
import {known} from './states.js';
import {trail} from './trail.js';

// Of the page; or, given a model, of that one.
export function inspect(model) {
  return model ? ofModel(model) : ofPage();
}

function ofPage() {
  var connection = latest(), backends = connection.backends;
  return {
    connected: !!connection.socket && connection.socket.connected,
    backends: Object.keys(backends).map(function(name) { return ofBackend(backends[name]); }),
    last: trail()
  };
}

function ofBackend(backend) {
  var channels = [];
  backend.each(function(subscription) { channels.push(ofChannel(subscription)); });
  return {
    name: backend.name, connected: backend.connected(),
    queue: backend.queue.map(ofRequest), flying: backend.flying.map(ofRequest), channels: channels
  };
}

function ofChannel(subscription) {
  var history = subscription.history, revs = {}, objects = 0, stale = 0;
  subscription.each(function(object, state) {
    objects++;
    if (state.refetching) stale++;
    (isCollection(object) ? object.models : [object]).forEach(function(model) {
      var rev = revOf(model, history.epoch);
      if (model.id != null && rev !== null) revs[model.id] = rev;
    });
  });
  return {
    channel: subscription.channel, state: subscription.state, epoch: history.epoch, rev: history.rev,
    objects: objects, stale: stale, revs: revs
  };
}

function ofRequest(request) {
  var model = request.message.model || {};
  return {
    id: request.message.id, method: request.method, channel: request.subscription.channel,
    model: idIn(request.object, model), sent: !!request.sent
  };
}

// `changes` are those of its id that the page has seen, the newest last.
function ofModel(model) {
  var state = known(model) || known(model.collection);
  var subscription = state && state.subscription || null, key = keyOf(model.id), shadow = shadowOf(model);
  return {
    id: model.id, cid: model.cid,
    backend: subscription && subscription.name, channel: subscription && subscription.channel,
    rev: subscription ? revOf(model, subscription.history.epoch) : null,
    said: shadow.sent, unsaved: shadow.unsaved(),
    changes: trail(function(step) {
      return key && subscription && step.backend === subscription.name && keyOf(step.model) === key;
    })
  };
}
