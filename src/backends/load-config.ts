/** @file Finds a backend's configuration by name, by path, or as it stands in a document. */

import { dirname, join, resolve } from "node:path";
import { UsageError } from "../errors.js";
import { closest } from "../util/closest.js";
import type { SecretSource } from "../util/secret.js";
import { readLocated } from "../util/yaml/parse.js";
import { validateLocated } from "../util/yaml/validate.js";
import { modelLocation } from "../weights/hub/location.js";
import { BACKEND_KINDS, type BackendConfig, backendConfigSchema } from "./config.js";
import { SHIPPED, shippedConfigs } from "./shipped.js";

/**
 * The configuration that `name` stands for: a path to a YAML file (it ends in `.yaml` or `.yml`), a shipped configuration, or a kind of backend with
 * nothing further said.
 * @param folder what a relative path is relative to
 * @throws UsageError when there is none, DocumentError when the file is wrong
 */
export async function loadBackendConfig(name: string, folder = "."): Promise<BackendConfig> {
  if (/\.ya?ml$/i.test(name)) return readConfig(resolve(folder, name));
  const shipped = shippedConfigs("backend");
  if (shipped.includes(name)) return readConfig(join(SHIPPED, `${name}.yaml`));
  const bare = backendConfigSchema.safeParse({ backend: name });
  if (bare.success) return bare.data;
  const known = [...new Set([...BACKEND_KINDS, ...shipped])];
  const kind = BACKEND_KINDS.find((one) => one === name);
  if (kind !== undefined) {
    throw new UsageError(
      `backend ${name}: expected a configuration file, which says ${bare.error.issues.map(({ path }) => path.join(".")).join(", ")}, got the name alone`,
    );
  }
  const near = closest(name, known);
  throw new UsageError(
    `backend: expected ${known.join(", ")} or a YAML file, got ${name}${near === undefined ? "" : `; did you mean ${near}?`}`,
  );
}

async function readConfig(path: string): Promise<BackendConfig> {
  const config = validateLocated(backendConfigSchema, await readLocated(path));
  return absolutePaths(config, () => dirname(path));
}

/**
 * The configuration with its paths absolute: models, pictures, files of secrets.
 * @param folder what the path at these keys of the configuration is relative to
 */
export function absolutePaths(config: BackendConfig, folder: (keys: readonly PropertyKey[]) => string): BackendConfig {
  const path = (value: string, ...keys: PropertyKey[]): string => resolve(folder(keys), value);
  const secret = <T extends SecretSource | undefined>(source: T, key: string): T =>
    source?.file === undefined ? source : { ...source, file: path(source.file, key, "file") };
  switch (config.backend) {
    case "local":
      return config.model === undefined ? config : { ...config, model: modelLocation(config.model, folder(["model"])) };
    case "folder":
      return {
        ...config,
        path:
          typeof config.path === "string"
            ? path(config.path, "path")
            : config.path.map((one, i) => path(one, "path", i)),
      };
    case "webui":
      return { ...config, password: secret(config.password, "password") };
    case "comfyui":
      return {
        ...config,
        password: secret(config.password, "password"),
        ...(config.workflow === undefined ? {} : { workflow: path(config.workflow, "workflow") }),
      };
    case "sdcpp":
      return config;
    case "openai":
      return { ...config, key: secret(config.key, "key") };
    case "huggingface":
      return { ...config, token: secret(config.token, "token") };
    default:
      return config satisfies never;
  }
}
