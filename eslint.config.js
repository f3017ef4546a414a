// What the type checker cannot say. The import rules are tables in setup/lint/boundaries.ts.
import { defineConfig, globalIgnores } from 'eslint/config';
import tseslint from 'typescript-eslint';
import { PURE } from './setup/lint/boundaries.ts';
import { importBoundary } from './setup/lint/rule.ts';

const TESTS = ['**/*.test.ts', 'testbed/scenarios/**'];

const NO_ENUM = {
  selector: 'TSEnumDeclaration',
  message: 'use a union of string literals, not an enum',
};
const TIME_AND_CHANCE = 'a pure file takes time and chance as arguments (lib/clock.ts)';

export default defineConfig(
  globalIgnores(['build/', 'node_modules/', '**/*.generated.ts']),
  { linterOptions: { reportUnusedDisableDirectives: 'error', reportUnusedInlineConfigs: 'error' } },
  {
    // The console's browser code is JavaScript with types in comments, and has a tsconfig.json.
    files: ['**/*.ts', 'src/console/public/*.js'],
    extends: [tseslint.configs.strictTypeChecked, tseslint.configs.stylisticTypeChecked],
    languageOptions: {
      parserOptions: { projectService: true, tsconfigRootDir: import.meta.dirname },
    },
    plugins: { skein: { rules: { 'import-boundary': importBoundary } } },
    rules: {
      'skein/import-boundary': 'error',
      '@typescript-eslint/consistent-type-exports': 'error',
      '@typescript-eslint/consistent-type-imports': 'error',
      '@typescript-eslint/no-import-type-side-effects': 'error',
      '@typescript-eslint/switch-exhaustiveness-check': [
        'error',
        { considerDefaultExhaustiveForUnions: true, requireDefaultForNonUnion: true },
      ],
      '@typescript-eslint/no-unnecessary-condition': [
        'error',
        { allowConstantLoopConditions: 'only-allowed-literals' },
      ],
      '@typescript-eslint/restrict-template-expressions': ['error', { allowNumber: true }],
      '@typescript-eslint/no-confusing-void-expression': [
        'error',
        { ignoreArrowShorthand: true, ignoreVoidReturningFunctions: true },
      ],
      '@typescript-eslint/no-unused-vars': ['error', { argsIgnorePattern: '^_' }],
      'no-restricted-exports': [
        'error',
        {
          restrictDefaultExports: {
            direct: true,
            named: true,
            defaultFrom: true,
            namedFrom: true,
            namespaceFrom: true,
          },
        },
      ],
      'no-restricted-syntax': ['error', NO_ENUM],
      eqeqeq: 'error',
      'max-lines': ['error', { max: 400, skipBlankLines: true, skipComments: true }],
      'max-lines-per-function': ['error', { max: 70, skipBlankLines: true, skipComments: true }],
    },
  },
  {
    files: PURE.files,
    ignores: PURE.except,
    rules: {
      'no-restricted-globals': [
        'error',
        ...['setTimeout', 'setInterval', 'setImmediate', 'performance', 'process', 'fetch'].map(
          (name) => ({ name, message: TIME_AND_CHANCE }),
        ),
      ],
      'no-restricted-properties': [
        'error',
        { object: 'Date', property: 'now', message: TIME_AND_CHANCE },
        { object: 'Math', property: 'random', message: TIME_AND_CHANCE },
      ],
      'no-restricted-syntax': [
        'error',
        NO_ENUM,
        {
          selector: "NewExpression[callee.name='Date'][arguments.length=0]",
          message: TIME_AND_CHANCE,
        },
      ],
    },
  },
  {
    // koffi's values have no types; this file gives them some.
    files: ['src/dataplane/libbpf.ts'],
    rules: {
      '@typescript-eslint/no-unsafe-assignment': 'off',
      '@typescript-eslint/no-unsafe-argument': 'off',
      '@typescript-eslint/no-unsafe-call': 'off',
      '@typescript-eslint/no-unsafe-member-access': 'off',
      '@typescript-eslint/no-unsafe-return': 'off',
    },
  },
  {
    // `new Map()` cannot be given its types in JavaScript other than by assignment.
    files: ['src/console/public/*.js'],
    rules: { '@typescript-eslint/no-unsafe-assignment': 'off' },
  },
  {
    // Hono's routes are made by chaining, and what a chain returns is typed as an interface.
    files: ['src/console/**'],
    rules: { '@typescript-eslint/no-unsafe-class-instance-assignment': 'off' },
  },
  {
    files: TESTS,
    rules: {
      // A test that meets undefined fails all the same, and a describe block is not a function.
      '@typescript-eslint/no-non-null-assertion': 'off',
      'max-lines': 'off',
      'max-lines-per-function': 'off',
    },
  },
  { files: ['*.config.ts'], rules: { 'no-restricted-exports': 'off' } },
);
