'use strict';

const globals = names => Object.fromEntries(names.map(name => [name, 'readonly']));

const rules = {
  'no-undef': 'error', 'no-unused-vars': ['error', {caughtErrors: 'none'}], 'no-redeclare': 'error', 'no-shadow': 'off', 'no-dupe-keys': 'error',
  'no-unreachable': 'error', 'no-fallthrough': 'error', 'no-cond-assign': 'error', 'no-self-assign': 'error',
  'no-prototype-builtins': 'error', 'no-console': ['error', {allow: ['warn']}], 'no-trailing-spaces': 'error', 'eqeqeq': ['error', 'always', {null: 'ignore'}],
  'semi': 'error', 'quotes': ['error', 'single', {avoidEscape: true, allowTemplateLiterals: true}],
  'indent': ['error', 2, {ignoredNodes: ['ConditionalExpression', 'ForStatement > ForStatement']}], 'max-len': ['error', 110],
  'eol-last': 'error', 'strict': ['error', 'safe']
};

const BROWSER = globals(['globalThis', 'self', 'define', 'module', 'require', 'crypto', 'setTimeout', 'clearTimeout', 'Promise', 'Map',
  'Set', 'WeakMap', 'WeakRef', 'Uint8Array', 'console', 'exports', 'global']);

module.exports = [
  {
    files: ['src/*.js'],
    languageOptions: {ecmaVersion: 2015, sourceType: 'module', globals: BROWSER},
    rules: {...rules, 'no-var': 'off'}
  },
  // What browsers run as it is: the syntax of ES5.
  {
    files: ['dist/backbone.io.js', 'dist/backbone.io.min.js'],
    languageOptions: {ecmaVersion: 5, sourceType: 'script', globals: BROWSER},
    rules: {'no-undef': 'error'}
  },
  {
    files: ['tests/*.js', 'eslint.config.js', 'rollup.config.mjs'],
    languageOptions: {
      ecmaVersion: 2022,
      sourceType: 'commonjs',
      globals: globals(['setTimeout', 'clearTimeout', 'crypto', 'console', 'process', '__dirname', 'WeakRef', 'Uint8Array', 'URL', 'setInterval'])
    },
    rules: {...rules, indent: 'off', 'max-len': ['error', 160]}
  },
  {files: ['rollup.config.mjs'], languageOptions: {sourceType: 'module'}},
  {ignores: ['node_modules/', 'tests/types/', 'dist/backbone.io.esm.js']}
];
