/**
 * @file Packs Laurel as npm would publish it, checks what is inside, installs it into empty projects and uses it there: the command, a pipeline, an example,
 * `require`, and the types under the strictest settings. Expects a built `dist/`.
 */

import { execFileSync } from "node:child_process";
import { copyFileSync, existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { fileURLToPath } from "node:url";

const ROOT = fileURLToPath(new URL("..", import.meta.url));
/** Everything a package may hold, by the start of its path. */
const SHIPPED = [
  "dist/",
  "models/demo/",
  "assets/",
  "configs/",
  "integrations/",
  "CHANGELOG.md",
  "LICENSE",
  "README.md",
  "package.json",
  "pipelines/",
  "schema/",
];
/** Most of a tarball are the demo models; more than this is an accident. */
const LARGEST_MEGABYTES = 26;

const folder = mkdtempSync(join(tmpdir(), "laurel-package-"));
try {
  const tarball = pack();
  run(ROOT, "npx", ["publint", tarball, "--strict"]);
  run(ROOT, "npx", ["attw", tarball, "--profile", "esm-only"]);
  const project = install(tarball, "project", []);
  useCommand(project);
  usePipeline(project);
  useExample(project);
  useRequire(project);
  useTypes(project);
  useCommand(install(tarball, "without-scripts", ["--ignore-scripts"]));
} finally {
  rmSync(folder, { recursive: true });
}
console.log("package: ok");

/** Packs, and compares what lies inside with the sources: nothing missing, nothing left from deleted files. */
function pack() {
  const output = run(ROOT, "npm", ["pack", "--json", "--ignore-scripts", "--pack-destination", folder]);
  const [{ filename, files, size, unpackedSize }] = JSON.parse(output);
  const paths = files.map((/** @type {{ path: string }} */ file) => file.path);
  const strays = paths.filter((/** @type {string} */ path) => {
    if (!SHIPPED.some((start) => path.startsWith(start))) return true;
    const source = /^dist\/(.+?)\.(d\.ts|js|js\.map)$/.exec(path)?.[1];
    return path.startsWith("dist/") && (source === undefined || !existsSync(join(ROOT, "src", `${source}.ts`)));
  });
  if (strays.length > 0) throw new Error(`package: expected only what is needed, got also ${strays.join(", ")}`);
  const megabytes = (/** @type {number} */ bytes) => (bytes / 1e6).toFixed(1);
  console.log(`package: ${paths.length} files, ${megabytes(size)} MB, ${megabytes(unpackedSize)} MB unpacked`);
  if (size > LARGEST_MEGABYTES * 1e6) {
    throw new Error(`package: expected at most ${LARGEST_MEGABYTES} MB, got ${megabytes(size)}`);
  }
  return join(folder, filename);
}

/** An empty project with the package installed; returns its folder. */
function install(/** @type {string} */ tarball, /** @type {string} */ name, /** @type {string[]} */ options) {
  const project = join(folder, name);
  mkdirSync(project);
  writeFileSync(join(project, "package.json"), JSON.stringify({ name, private: true, type: "module" }));
  // onnxruntime-node's own script would download CUDA libraries; docs/library.md says the same to users
  const skip = options.length === 0 ? { ONNXRUNTIME_NODE_INSTALL: "skip" } : {};
  run(project, "npm", ["install", tarball, "--prefer-offline", "--no-audit", "--no-fund", ...options], skip);
  return project;
}

function useCommand(/** @type {string} */ project) {
  const args = ["laurel", "generate", "a red circle above a blue square", "-n", "2", "--seed", "1", "--json"];
  const { best, warnings } = JSON.parse(run(project, "npx", args));
  expect(resolve(best.path).startsWith(join(project, "outputs")), `a picture in the project, got ${best.path}`);
  expect(warnings.length === 0, `no warnings, got ${warnings.join("; ")}`);
}

function usePipeline(/** @type {string} */ project) {
  run(project, "npx", ["laurel", "init", "best-of-n", "--out", "jobs/mine.yaml"]);
  const [modeline = ""] = readFileSync(join(project, "jobs/mine.yaml"), "utf8").split("\n");
  const schema = resolve(project, "jobs", modeline.replace(/^.*schema=/, ""));
  expect(schema.startsWith(join(project, "node_modules/laurel/schema/")), `the installed schema, got ${modeline}`);
  expect(existsSync(schema), `a schema at ${schema}`);
  const args = ["laurel", "run", "jobs/mine.yaml", "--set", "n=2", "--set", "keep=1", "--json"];
  const { status, candidates } = JSON.parse(run(project, "npx", args));
  expect(status === "complete" && candidates === 4, `4 candidates, got ${candidates}, ${status}`);
}

function useExample(/** @type {string} */ project) {
  const example = "generate-best-of-n.mjs";
  copyFileSync(join(ROOT, "examples", example), join(project, example));
  const output = run(project, "node", [example]);
  expect(/^1\. seed \d+, score \d/m.test(output), `a ranking, got ${output}`);
}

function useRequire(/** @type {string} */ project) {
  const program =
    "const { packageVersion, generate } = require('laurel'); console.log(packageVersion(), typeof generate);";
  writeFileSync(join(project, "require.cjs"), program);
  const output = run(project, "node", ["--disable-warning=ExperimentalWarning", "require.cjs"]);
  expect(/^\d+\.\d+\.\d+ function\n$/.test(output), `a version and a function, got ${output}`);
}

function useTypes(/** @type {string} */ project) {
  const program = `
    import { float32, generate, type Generation, openBackend, openDevice, openReward, type RgbImage } from "laurel";
    const device = openDevice({ threads: 1 });
    const models = { backend: await openBackend(device), reward: await openReward(device) };
    const result: Generation = await generate(models, { prompt: "a red circle", count: 2 });
    const image: RgbImage | undefined = result.best?.image;
    const side: number = models.reward.imageSize;
    const { gradient } = await models.reward.gradient("a red circle", float32([1, 3, side, side], new Float32Array(3 * side * side)));
    const slope: number | undefined = gradient.data[0];
    // @ts-expect-error a prompt is needed
    const wrong = generate(models, { count: 2 });
    console.log(image, slope, wrong);
  `;
  writeFileSync(join(project, "types.ts"), program);
  const options = ["--strict", "--exactOptionalPropertyTypes", "--noUncheckedIndexedAccess", "--skipLibCheck", "false"];
  const target = ["--module", "nodenext", "--target", "es2022", "--noEmit"];
  run(project, "node", [join(ROOT, "node_modules/typescript/bin/tsc"), ...target, ...options, "types.ts"]);
}

/** Runs a command and returns what it wrote to stdout; what it wrote is shown when it fails. */
function run(/** @type {string} */ cwd, /** @type {string} */ command, /** @type {string[]} */ args, environment = {}) {
  try {
    const env = { ...process.env, ...environment };
    return execFileSync(command, args, { cwd, encoding: "utf8", env, stdio: ["ignore", "pipe", "pipe"] });
  } catch (error) {
    const { stdout, stderr } = /** @type {{ stdout: string, stderr: string }} */ (error);
    throw new Error(`${command} ${args.join(" ")}: expected success, got\n${stdout}${stderr}`, { cause: error });
  }
}

function expect(/** @type {boolean} */ holds, /** @type {string} */ what) {
  if (!holds) throw new Error(`package: expected ${what}`);
}
