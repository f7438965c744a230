// The last that this page was told of its models, for `inspect`. No model is kept by it.
import {idIn} from './identity.js';

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

// Oldest first: those for which `keep(step)` holds.
export function trail(keep) {
  return keep ? steps.filter(keep) : steps.slice();
}
