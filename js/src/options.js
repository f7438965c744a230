// The options of `connect`: ours, and those of Socket.IO's client.
import {warn} from './warn.js';

// What socket.io-client and engine.io-client 4.8 and 6.6 read (their ManagerOptions, SocketOptions
// and SocketOptions of the engine, what Node's sockets take included); a test compares the types.
var KNOWN = ('requestTimeout forceNew multiplex path reconnection reconnectionAttempts reconnectionDelay ' +
  'reconnectionDelayMax randomizationFactor timeout autoConnect parser auth retries ackTimeout query host ' +
  'hostname port secure agent upgrade forceBase64 timestampParam timestampRequests transports ' +
  'transportImplementations tryAllTransports rememberUpgrade transportOptions pfx key passphrase cert ca ' +
  'ciphers rejectUnauthorized extraHeaders withCredentials closeOnBeforeunload useNativeTimers autoUnref ' +
  'perMessageDeflate addTrailingSlash protocols cookieJar').split(' ');

// One that nobody reads does nothing, so the page is told.
export function check(given) {
  Object.keys(given).forEach(function(key) {
    if (KNOWN.indexOf(key) >= 0) return;
    var near = nearest(key);
    warn('"' + key + '" is no option of Backbone.io.connect' + (near ? ': is "' + near + '" meant?' :
      ', which takes those of Socket.IO\'s client, and requestTimeout.'));
  });
}

function nearest(key) {
  var best = null, least = Math.min(3, key.length / 2);
  KNOWN.forEach(function(option) {
    var steps = distance(key.toLowerCase(), option.toLowerCase());
    if (steps < least) { best = option; least = steps; }
  });
  return best;
}

// How many letters have to be put in, taken out or changed (Levenshtein), row by row.
function distance(one, other) {
  var row = [], i, j, before, above;
  for (j = 0; j <= other.length; j++) row[j] = j;
  for (i = 1; i <= one.length; i++) {
    before = row[0]++;
    for (j = 1; j <= other.length; j++) {
      above = row[j];
      row[j] = Math.min(above + 1, row[j - 1] + 1, before + (one[i - 1] === other[j - 1] ? 0 : 1));
      before = above;
    }
  }
  return row[other.length];
}
