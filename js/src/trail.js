// The last that this page was told of its models, for `inspect`. No model is kept by it.
import {isObject} from './util.js';
import {isCollection} from './identity.js';

var MOST = 200, steps = [];

// `how` is event, answer or refusal; `row` is the server's or, where `object` is a model, may be
// what was sent.
export function note(subscription, how, method, object, row, rev, error) {
  var step = {
    at: new Date(), backend: subscription.name, channel: subscription.channel,
    how: how, method: method, model: idIn(object, row), rev: rev
  };
  if (error) step.error = error;
  steps.push(step);
  if (steps.length > MOST) steps.shift();
}

// The id that a row names; undefined for a list. `parse`, which is the page's, is not asked.
export function idIn(object, row) {
  var sample = object && isCollection(object) ? object.model && object.model.prototype : object;
  return isObject(row) ? row[sample && sample.idAttribute || 'id'] : undefined;
}

// Oldest first: those for which `keep(step)` holds.
export function trail(keep) {
  return keep ? steps.filter(keep) : steps.slice();
}
