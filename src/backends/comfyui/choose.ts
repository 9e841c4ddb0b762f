/** @file Which graph a server draws with: the built-in one with a checkpoint of the server's, or the user's workflow, checked against what the server has. */

import { UsageError } from "../../errors.js";
import { listed, named, type ServerLora } from "../server-names.js";
import { builtinTemplate, type Template } from "./graph.js";
import type { ServerInfo } from "./server-info.js";
import { readWorkflow, type WorkflowOptions } from "./workflow.js";

/** What decides the graph. */
export interface TemplateOptions extends WorkflowOptions {
  /** A checkpoint of the server, with or without folder and ending; with a workflow, what goes into its slot. @default the only one it has */
  readonly model?: string | undefined;
  /** A file with the user's workflow in API format. @default the built-in graph */
  readonly workflow?: string | undefined;
  /** LoRAs of the server, for the built-in graph. @default none */
  readonly loras?: readonly ServerLora[] | undefined;
}

/**
 * The graph with everything in it that requests do not decide.
 * @param where names the server in messages
 * @throws UsageError for what the server does not have or the graph has no place for, HttpError
 */
export async function openTemplate(where: string, info: ServerInfo, options: TemplateOptions): Promise<Template> {
  return options.workflow === undefined
    ? openBuiltin(where, info, options)
    : openWorkflow(where, info, options, options.workflow);
}

async function openBuiltin(where: string, info: ServerInfo, options: TemplateOptions): Promise<Template> {
  for (const key of ["slots", "output", "unseeded"] as const) {
    if (options[key] === undefined) continue;
    const written = key === "unseeded" ? "seeds" : key;
    throw new UsageError(`${where}: ${written}: expected a workflow beside it, got none`);
  }
  const checkpoints = await info.choices("CheckpointLoaderSimple", "ckpt_name");
  if (checkpoints.length === 0) {
    throw new UsageError(
      `${where}: expected a server with checkpoints (models/checkpoints), got one without; a workflow can load other models`,
    );
  }
  if (options.model === undefined && checkpoints.length > 1) {
    throw new UsageError(`${where}: model: expected one of ${listed(checkpoints)}, got none`);
  }
  const model = options.model === undefined ? checkpoints[0]! : named(options.model, checkpoints, `${where}: model`);
  const asked = options.loras ?? [];
  const available = asked.length === 0 ? [] : await info.choices("LoraLoader", "lora_name");
  const loras = asked.map((lora, i) => ({ ...lora, name: named(lora.name, available, `${where}: loras[${i}]`) }));
  return builtinTemplate(model, loras);
}

async function openWorkflow(
  where: string,
  info: ServerInfo,
  { model, loras, ...options }: TemplateOptions,
  path: string,
): Promise<Template> {
  if (loras !== undefined)
    throw new UsageError(`${where}: loras: expected none beside a workflow, got ${loras.length}`);
  const template = await readWorkflow(path, options);
  await checkClasses(template, info, `${path}: on ${where}`);
  const place = template.places.get("model")?.[0];
  if (model === undefined) {
    if (!template.required.includes("model")) return template;
    throw new UsageError(`${where}: model: expected one, since the workflow has {{model}}, got none`);
  }
  if (place === undefined) {
    throw new UsageError(`${where}: model: expected none, since the workflow has no slot for it, got ${model}`);
  }
  const choices = await info.choices(template.graph[place.node]!.class_type, place.input);
  const name = choices.length === 0 ? model : named(model, choices, `${where}: model`);
  const fill: Template["fill"] = (values) => template.fill({ ...values, model: name });
  return { ...template, model: `${name}, ${template.model}`, fill };
}

/** @throws UsageError for classes the server does not have, and for an output that gives nothing */
async function checkClasses({ graph, output }: Template, info: ServerInfo, where: string): Promise<void> {
  const types = [...new Set(Object.values(graph).map(({ class_type: type }) => type))];
  const classes = new Map(await Promise.all(types.map(async (type) => [type, await info.nodeClass(type)] as const)));
  const missing = Object.entries(graph).flatMap(([id, { class_type: type }]) =>
    classes.get(type) === undefined ? [`${type} (node ${id})`] : [],
  );
  if (missing.length > 0) {
    throw new UsageError(
      `${where}: expected node classes the server has, got ${missing.join(", ")}; is an extension missing?`,
    );
  }
  const type = graph[output]!.class_type;
  if (classes.get(type)?.isOutput !== true) {
    throw new UsageError(`${where}: output: expected a node that saves pictures, got ${type} (node ${output})`);
  }
}
