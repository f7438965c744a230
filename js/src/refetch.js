// Fetching once more what a reset, or what was missed, has made old.
import {extend, isAway, isMissing} from './util.js';
import {isCollection} from './identity.js';
import {morePatience} from './states.js';

// A server that resets everybody asks for patience: each fetches at a moment of its own.
export function refetchLater(subscription, object, state, patience) {
  if (!(patience > 0)) return refetch(subscription, object, state);
  clearTimeout(state.refetching);
  state.refetching = setTimeout(function() {
    state.refetching = null;
    if (state.subscription === subscription) refetch(subscription, object, state);
  }, Math.random() * patience);
}

// Repeats the fetches that made an object what it is, unless one waits to be sent; once those
// are over, if none of them removes, or the last is refused, or a further page is under way. The
// first removes what is gone, and by REST is answered before the next is asked; a bound model that
// is gone is destroyed.
export function refetch(subscription, object, state) {
  var waits = Array.from(subscription.requests).filter(function(request) {
    if (request.method !== 'read' || request.object !== object) return false;
    return !request.rest && !request.expired && (!request.flying || request.options.remove === false);
  });
  var last = waits[waits.length - 1];
  if (last) {
    last.removes = waits.some(function(request) { return request.options.remove !== false; }); // by now
    if (last.redo) return;
    last.redo = function() { if (state.subscription === subscription) refetch(subscription, object, state); };
    last.promise.then(function() { if (!last.removes) last.redo(); }, last.redo);
    return;
  }
  if (!state.fetched) return;
  var list = state.fetched;
  var again = function() { refetchLater(subscription, object, state, morePatience(state)); };
  var ask = function(i) {
    var next = function() {
      if (state.subscription !== subscription) return;
      if (state.fetched !== list) refetch(subscription, object, state); // the page has fetched meanwhile
      else if (i + 1 < list.length) ask(i + 1);
    };
    var options = extend({}, list[i], {refetch: {again: again, next: next}});
    if (i === 0) delete options.remove;
    options.error = function(model, failed) {
      if (isAway(failed)) return again();
      if (state.follow) next();
      if (isCollection(model) || !state.bound || !isMissing(failed)) return;
      model.trigger('destroy', model, model.collection, {synced: true});
    };
    object.fetch(options);
    if (!state.follow) next(); // the backend keeps the order
  };
  ask(0);
}

// A read by REST that came from before we listened missed what happened between: once more.
export function mend(subscription, object, state) {
  var history = subscription.history, label = state.label;
  if (!state.follow || !state.fetched || label === undefined) return;
  if (label && label.epoch === history.epoch && label.rev >= history.from) return;
  state.label = undefined;
  refetch(subscription, object, state);
}
