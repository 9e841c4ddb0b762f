/** @file The text encoders of a model as graphs: one for Stable Diffusion 1.x and 2.x, two for XL. */

import { ModelError } from "../errors.js";
import { graph, input } from "../graph/builder.js";
import type { Graph, Value } from "../graph/types.js";
import type { ClipTextConfig } from "../models/clip-text.js";
import { buildClipText, buildClipTextStates, parseClipTextConfig, projectText } from "../models/clip-text.js";
import { rootScope, type RootScopeOptions } from "../nn/scope.js";
import { isXl, type ModelFolder } from "./model-folder.js";

/** The folders that text encoders lie in. */
export type TextComponent = "text_encoder" | "text_encoder_2";

/** A text encoder and what is taken of it. */
export interface TextNetwork {
  readonly component: TextComponent;
  readonly config: ClipTextConfig;
  /** The states after the last layer and its norm (Stable Diffusion 1.x, 2.x), or those that go into the last layer (XL). */
  readonly taken: "last" | "penultimate";
  /** The projected state at the end of text is read too (CLIPTextModelWithProjection). */
  readonly pooled: boolean;
}

/** What is asked of the text encoders. */
export interface TextVariant {
  /** Layers left out at the end. */
  readonly skippedLayers: number;
  /** Some tokens' embeddings are fed instead of looked up. */
  readonly replacing: boolean;
}

/** The text encoders as the reference pipelines use them. */
export const PLAIN_TEXT: TextVariant = { skippedLayers: 0, replacing: false };

/** The text encoders of a folder, in the order in which their states are joined. @throws ModelError naming the file and field */
export function readTextNetworks(folder: ModelFolder): readonly [TextNetwork, ...TextNetwork[]] {
  const parse = (component: TextComponent): ClipTextConfig =>
    parseClipTextConfig(folder.configs[component], folder.whereOf(component));
  const config = parse("text_encoder");
  if (!isXl(folder)) return [{ component: "text_encoder", config, taken: "last", pooled: false }];
  const networks: [TextNetwork, TextNetwork] = [
    { component: "text_encoder", config, taken: "penultimate", pooled: false },
    { component: "text_encoder_2", config: parse("text_encoder_2"), taken: "penultimate", pooled: true },
  ];
  for (const { component, config } of networks) {
    if (config.layers < 2) {
      throw new ModelError(
        `${folder.whereOf(component)}: num_hidden_layers: expected at least 2, got ${config.layers}`,
      );
    }
  }
  return networks;
}

/** The largest `skippedLayers`, plus one. */
export function mostClipSkip(networks: readonly TextNetwork[]): number {
  return Math.min(...networks.map(({ config }) => config.layers));
}

/**
 * `ids` int64 [N, length] -> `states` [N, length, width]; where `pooled`, also `pooled` [N, projection]. Where `replacing`, also reads `given` bool
 * [N, length, 1] and `vectors` [N, length, width]: the embeddings of the tokens for which `given` holds. Where layers of an XL's encoder are skipped,
 * `unskipped` [N, length, width] are the states that the negative prompt has: the reference pipeline skips layers for the prompt alone.
 * @param adapters of the layers
 */
export function textNetworkGraph(
  network: TextNetwork,
  length: number,
  variant: TextVariant = PLAIN_TEXT,
  adapters?: RootScopeOptions["adapters"],
): Graph {
  const { config, taken, pooled } = network;
  const scope = rootScope({ mode: "inference", ...(adapters === undefined ? {} : { adapters }) });
  const ids = input("ids", "int64", ["N", length]);
  const replacement = variant.replacing
    ? {
        given: input("given", "bool", ["N", length, 1]),
        vectors: input("vectors", "float32", ["N", length, config.width]),
      }
    : undefined;
  const { skippedLayers } = variant;
  if (taken === "last") {
    const { lastHiddenState } = buildClipText(scope, config, ids, { skippedLayers, replacement });
    return graph("text-encoder", { states: lastHiddenState });
  }
  const built = buildClipTextStates(scope, config, ids, { replacement });
  const outputs: Record<string, Value> = { states: built.hiddenStates.at(-2 - skippedLayers)! };
  if (skippedLayers > 0) outputs["unskipped"] = built.hiddenStates.at(-2)!;
  if (pooled) outputs["pooled"] = projectText(scope, config, built.pooled);
  return graph(pooled ? "text-encoder-2" : "text-encoder", outputs);
}

/** The whole encoder, also what is not taken of it: every weight that its files hold, every layer that a LoRA may change. */
export function wholeTextGraph(network: TextNetwork, length: number, adapters?: RootScopeOptions["adapters"]): Graph {
  const whole = network.pooled ? network : ({ ...network, taken: "last" } as const);
  return textNetworkGraph(whole, length, PLAIN_TEXT, adapters);
}
