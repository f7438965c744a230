// What run.py asks of the Node servers over HTTP, besides an ordinary page.
'use strict';

// The exclamation mark is what load.py counts.
exports.models = new Map();
for (let id = 1; id <= 10; id++) {
  exports.models.set(id, { id, text: 'The quick brown fox jumps over the lazy dog !' });
}

exports.page = (emit) => (request, response) => {
  const [, what, count] = request.url.split('/');
  if (what === 'collect') global.gc();
  if (what === 'emit') for (let i = 0; i < Number(count); i++) emit();
  response.end(what === 'pid' ? String(process.pid) : 'hello');
};
