/**
 * @file Key names of attention layers in autoencoders saved before diffusers 0.13, Stable Diffusion 1.5's own among them.
 * Source: https://github.com/huggingface/diffusers/blob/v0.38.0/src/diffusers/models/modeling_utils.py `_fix_state_dict_keys_on_load`
 */

const CURRENT: ReadonlyMap<string, string> = new Map([
  ["query", "to_q"],
  ["key", "to_k"],
  ["value", "to_v"],
  ["proj_attn", "to_out.0"],
]);

const DEPRECATED = /(^|\.)(attentions\.\d+)\.(query|key|value|proj_attn)\.(weight|bias)$/;

/** The current name of a key; current names stay as they are. For `ResolveOptions.rename`. */
export function renameDeprecatedAttention(key: string): string {
  return key.replace(DEPRECATED, (_, start: string, block: string, name: string, kind: string) => {
    return `${start}${block}.${CURRENT.get(name)}.${kind}`;
  });
}
