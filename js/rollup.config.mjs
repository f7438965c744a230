// Bundles src/ into dist/: a readable UMD file, a readable ES module, and a small UMD file
// with a source map.
import {readFileSync} from 'node:fs';
import terser from '@rollup/plugin-terser';

const {version} = JSON.parse(readFileSync(new URL('package.json', import.meta.url), 'utf8'));

const banner = `\
//     Backbone.IO for Python ${version}: Backbone models and collections in sync with a
//     backend over Socket.IO, through lost connections too.
//     May be freely distributed under the MIT license.
`;

const versioned = {
  name: 'version',
  transform: code => code.includes('__VERSION__') ? {code: code.replace('__VERSION__', version), map: null} : null
};

// `--watch` ends with whoever started it.
if (process.env.ROLLUP_WATCH) {
  const parent = process.ppid;
  setInterval(() => { if (process.ppid !== parent) process.exit(); }, 1000);
}

// An ES module imports Socket.IO's client; the others look for it when they connect.
const imported = {
  name: 'io',
  resolveId: source => source === './io.js' ? new URL('src/io.esm.js', import.meta.url).pathname : null
};

const umd = {
  format: 'umd', name: 'Backbone.io', globals: {backbone: 'Backbone'}, interop: 'default', generatedCode: 'es5', banner
};

export default [
  {
    input: 'src/index.js',
    external: ['backbone'],
    plugins: [versioned],
    output: [
      {...umd, file: 'dist/backbone.io.js'},
      {...umd, file: 'dist/backbone.io.min.js', sourcemap: true, plugins: [terser({ecma: 5, format: {comments: /MIT/}})]}
    ]
  },
  {
    input: 'src/index.js',
    external: ['backbone', 'socket.io-client'],
    plugins: [imported, versioned],
    output: {format: 'es', file: 'dist/backbone.io.esm.js', banner}
  }
];
