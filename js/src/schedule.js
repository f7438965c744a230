// Fresh objects, and subscriptions whose users changed, are looked after once the
// running code is done: fields of an ES6 class, say, are set after Backbone's
// constructor.
import {guard, soon} from './util.js';

var fresh = [], touched = new Set(), scheduled = false;

// Runs a task once the running code is done.
export function first(task) {
  fresh.push(task);
  schedule();
}

// Refreshes a subscription once, after those tasks.
export function touch(subscription) {
  touched.add(subscription);
  schedule();
}

function schedule() {
  if (scheduled) return;
  scheduled = true;
  soon(function() {
    var tasks = fresh, subscriptions;
    scheduled = false;
    fresh = [];
    tasks.forEach(guard);
    subscriptions = Array.from(touched);
    touched.clear();
    subscriptions.forEach(function(subscription) { subscription.refresh(); });
  });
}
