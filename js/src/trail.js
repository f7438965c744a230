// The last that this page was told of its models, for `inspect`. No model is kept by it.
var MOST = 200, steps = [];

// `how` is event, answer or refusal; `id` is the model's, undefined for a list.
export function note(subscription, how, method, id, rev, error) {
  var step = {
    at: new Date(), backend: subscription.name, channel: subscription.channel,
    how: how, method: method, model: id, rev: rev
  };
  if (error) step.error = error;
  steps.push(step);
  if (steps.length > MOST) steps.shift();
}

// Oldest first: those for which `keep(step)` holds.
export function trail(keep) {
  return keep ? steps.filter(keep) : steps.slice();
}
