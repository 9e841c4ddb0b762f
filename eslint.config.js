/** @file Lint rules, among them the house's floors: a folder of src/ imports only from floors below its own. */

import { createTypeScriptImportResolver } from "eslint-import-resolver-typescript";
import importX from "eslint-plugin-import-x";
import tseslint from "typescript-eslint";

/** Floor of every entry of src/, lowest first; entries of one line never import each other. */
const FLOORS = [
  ["errors.ts", "util"],
  ["tensor"],
  ["storage", "queue", "image", "tokenizers", "samplers", "graph", "weights"],
  ["demo", "autodiff", "onnx", "nn", "prompts", "evaluation"],
  ["models", "runtime"],
  ["diffusion", "rewards"],
  ["training", "backends", "export"],
  ["strategies"],
  ["pipeline"],
  ["report", "installation", "cluster"],
  ["library"],
  ["web"],
  ["cli"],
];

const zones = FLOORS.flatMap((floor, level) =>
  floor
    .filter((entry) => entry !== "errors.ts")
    .map((entry) => ({
      target: `./src/${entry}`,
      from: FLOORS.slice(level)
        .flat()
        .filter((other) => other !== entry && other !== "errors.ts")
        .map((other) => `./src/${other}`),
      message: `src/${entry} stands on floor ${level} and imports only from floors below it`,
    })),
).filter((zone) => zone.from.length > 0);

export default tseslint.config(
  { ignores: ["dist/", "outputs/", "coverage/", "models/", "test/fixtures/", "docs/api/"] },
  ...tseslint.configs.strict,
  {
    files: ["**/*.ts"],
    languageOptions: { parserOptions: { projectService: true, tsconfigRootDir: import.meta.dirname } },
    rules: {
      "@typescript-eslint/no-floating-promises": "error",
      "@typescript-eslint/no-misused-promises": "error",
      "@typescript-eslint/await-thenable": "error",
      "@typescript-eslint/switch-exhaustiveness-check": "error",
      "@typescript-eslint/consistent-type-imports": "error",
      // an index known to be in range is written `array[i]!`: noUncheckedIndexedAccess makes it needed
      "@typescript-eslint/no-non-null-assertion": "off",
    },
  },
  {
    files: ["**/*.ts", "**/*.js", "**/*.mjs"],
    plugins: { "import-x": importX },
    settings: {
      "import-x/resolver-next": [createTypeScriptImportResolver()],
      "import-x/extensions": [".ts", ".js", ".mjs"],
      "import-x/parsers": { "@typescript-eslint/parser": [".ts"] },
    },
    rules: {
      eqeqeq: "error",
      "no-console": "off",
      "import-x/no-cycle": "error",
      "import-x/no-restricted-paths": ["error", { zones }],
      "no-restricted-imports": "off",
    },
  },
  {
    files: ["src/**/*.ts"],
    ignores: ["src/runtime/**"],
    rules: {
      "no-restricted-imports": [
        "error",
        { paths: [{ name: "onnxruntime-node", message: "src/runtime is the only importer of onnxruntime-node" }] },
      ],
    },
  },
);
