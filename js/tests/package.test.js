// The npm package: packed, installed in an empty folder, bundled and type-checked there as
// by an application's own tools.
'use strict';

const {test, before, after} = require('node:test');
const assert = require('node:assert/strict');
const {execFileSync} = require('node:child_process');
const fs = require('node:fs');
const os = require('node:os');
const path = require('node:path');
const vm = require('node:vm');

const JS = path.join(__dirname, '..');
const {version, devDependencies} = require('../package.json');

let folder, files;

const run = (command, args, cwd = folder) =>
  execFileSync(command, args, {cwd, encoding: 'utf8', stdio: ['ignore', 'pipe', 'pipe'], timeout: 120000});
const write = (name, text) => fs.writeFileSync(path.join(folder, name), text);

before(() => {
  folder = fs.mkdtempSync(path.join(os.tmpdir(), 'backbone.io-'));
  const [packed] = JSON.parse(run('npm', ['pack', '--json', '--ignore-scripts', '--pack-destination', folder], JS));
  files = packed.files.map(file => file.path);
  write('package.json', JSON.stringify({name: 'page', private: true}));
  run('npm', ['install', '--ignore-scripts', '--no-audit', '--no-fund', '--prefer-offline', path.join(folder, packed.filename),
    'backbone@' + devDependencies.backbone, '@types/backbone@' + devDependencies['@types/backbone']]);
});
after(() => fs.rmSync(folder, {recursive: true, force: true}));

test('it has what was built, and nothing else', () => {
  assert.deepEqual(files.sort(), ['LICENSE', 'README.md', 'backbone.io.d.ts', 'dist/backbone.io.esm.js', 'dist/backbone.io.js', 'dist/backbone.io.min.js',
    'dist/backbone.io.min.js.map', 'package.json']);
});

test('a registry is told whose it is and where it comes from', () => {
  const {license, author, homepage, repository, bugs} = JSON.parse(fs.readFileSync(path.join(folder, 'node_modules', 'backbone.io-client',
    'package.json'), 'utf8'));
  for (const told of [license, author, homepage, repository.url, bugs]) assert.ok(told);
  const terms = name => fs.readFileSync(path.join(JS, name), 'utf8');
  assert.equal(terms('LICENSE'), terms('../LICENSE'));
});

test('node: require and import are one Backbone.io', () => {
  write('cjs.js', `console.log(require('backbone.io-client') === require('backbone').io, require('backbone').io.VERSION)`);
  assert.equal(run('node', ['cjs.js']).trim(), 'true ' + version);
  write('esm.mjs', `import io from 'backbone.io-client'; import Backbone from 'backbone';
    console.log(io === Backbone.io, typeof io.connect('http://127.0.0.1:9', {autoConnect: false}).emit)`);
  assert.equal(run('node', ['esm.mjs']).trim(), 'true function');
  assert.match(run('node', ['-p', `require.resolve('backbone.io-client/dist/backbone.io.min.js')`]), /backbone\.io\.min\.js/);
});

test('a bundler takes the ES module, and Socket.IO\'s client with it', async () => {
  const {rollup} = await import('rollup');
  const {default: resolve} = await import('@rollup/plugin-node-resolve');
  const {default: commonjs} = await import('@rollup/plugin-commonjs');
  write('page.js', `import Backbone from 'backbone'; import io from 'backbone.io-client';
    export const messages = new Backbone.Collection([], {backend: 'messages'});
    export const socket = io.connect('http://127.0.0.1:9', {autoConnect: false});
    export const same = io === Backbone.io;`);
  const bundle = await rollup({
    input: path.join(folder, 'page.js'),
    plugins: [resolve({browser: true, rootDir: folder, exportConditions: ['browser', 'module', 'import', 'production']}), commonjs()],
    onwarn(warning) { if (warning.code !== 'CIRCULAR_DEPENDENCY' && warning.code !== 'THIS_IS_UNDEFINED') throw new Error(warning.message); }
  });
  const {output: [{code, modules}]} = await bundle.generate({format: 'iife', name: 'page'});
  await bundle.close();
  const ours = Object.keys(modules).filter(name => name.includes('backbone.io-client')).map(name => path.basename(name));
  assert.deepEqual(ours, ['backbone.io.esm.js']);
  const window = {setTimeout, clearTimeout, console, URL, location: {protocol: 'http:', hostname: '127.0.0.1'}};
  const context = vm.createContext(Object.assign(window, {self: window}));
  const page = vm.runInContext(code + ';page', context);
  assert.equal(page.same, true);
  assert.equal(page.messages.backend.name, 'messages');
  assert.equal(page.messages.backend.socket.nsp, '/messages');
  assert.equal(page.socket.connected, false);
});

for (const [kind, module, moduleResolution] of [['a bundler', 'esnext', 'bundler'], ['node', 'node16', 'node16']]) {
  test('types, as ' + kind + ' finds them', () => {
    const sample = fs.readFileSync(path.join(__dirname, 'types', 'sample.ts'), 'utf8');
    write('sample.ts', sample.replace('../../backbone.io', 'backbone.io-client'));
    write('tsconfig.json', JSON.stringify({
      compilerOptions: {strict: true, noEmit: true, target: 'ES2020', module, moduleResolution, esModuleInterop: true, types: [],
        lib: ['ES2020', 'DOM']},
      files: ['sample.ts']
    }));
    try {
      run('node', [path.join(JS, 'node_modules', 'typescript', 'bin', 'tsc'), '-p', folder]);
    } catch (error) {
      assert.fail(error.stdout);
    }
  });
}
