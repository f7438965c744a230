// What is known of a collection, or of a model that stands alone:
//
//  * `bound`, or `off`: unbound on purpose;
//  * the `subscription` that it is registered with, as which `holder`, and whether it was
//    `greeted` there: told that it is live;
//  * `given`: the backend among the options that it was made with;
//  * `follow`: it reads and writes by REST; `transform`: makes of a row what `parse` expects;
//  * `fetched`: how it was fetched; `refetching`: the timer until it is again; `patience`: within how
//    many milliseconds, where the server was away;
//  * `label`: epoch and rev of what it read by REST, null where they could not be told;
//  * `held`: changes that wait for the answer to a create by REST.
import {moment} from './util.js';

var states = new WeakMap();

// The state of an object, or undefined where there is none.
export function known(object) {
  return states.get(object);
}

// The state of an object; it is made if need be.
export function stateOf(object) {
  if (!states.has(object)) states.set(object, {});
  return states.get(object);
}

// Collections are registered from construction until `unbindBackend`, models that
// stand alone as well. A model that is not bound is held weakly: a page makes and
// drops many of them. What a Set of users holds is therefore an object or a WeakRef.
export function weakly(object) {
  return typeof WeakRef === 'function' ? new WeakRef(object) : object;
}

// The object that a Set of users holds; undefined when it is gone.
export function objectOf(holder) {
  return typeof WeakRef === 'function' && holder instanceof WeakRef ? holder.deref() : holder;
}

// Within how many milliseconds to ask once more who was away: twice as many each time, up to a minute. A
// URL that CORS blocks looks like that, too, and for ever.
export function morePatience(state) {
  return (state.patience = Math.min(state.patience ? 2 * state.patience : 2 * moment(), 60000));
}
