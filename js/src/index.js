// Backbone.IO for Python: Backbone models and collections in sync with a backend over
// Socket.IO, through lost connections too.
import Backbone from 'backbone';
import {connect} from './connection.js';
import {inspect} from './inspect.js';
import {born, follow, follows, installBirth, installSync} from './registry.js';
import {install as installLookUp} from './apply.js';
import {install as installSave} from './request.js';
import {install as installSets} from './attributes.js';

export default install();

// Backbone learns it once, however often this is loaded.
function install() {
  if (!Backbone || !Backbone.Collection) throw new Error('backbone.io.js needs Backbone to be loaded first');
  if (Backbone.io && Backbone.io.connect) return Backbone.io;

  Backbone.io = Backbone.IO = function(url, options) {
    return connect(url, options);
  };
  Backbone.io.connect = connect;
  Backbone.io.follow = follow;
  Backbone.io.inspect = inspect;
  Backbone.io.timeout = 0;
  Backbone.io.VERSION = '__VERSION__';

  installLookUp();
  installSets(born, follows);
  installBirth();
  installSave(follows);
  installSync();
  return Backbone.io;
}
