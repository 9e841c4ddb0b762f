/** @file Old attention names become current ones; everything else stays. */

import { renameDeprecatedAttention } from "#laurel/weights/layouts/deprecated-attention";
import { describe, expect, it } from "vitest";

describe("renameDeprecatedAttention", () => {
  it.each([
    ["decoder.mid_block.attentions.0.query.weight", "decoder.mid_block.attentions.0.to_q.weight"],
    ["encoder.mid_block.attentions.0.key.bias", "encoder.mid_block.attentions.0.to_k.bias"],
    ["decoder.up_blocks.1.attentions.12.value.weight", "decoder.up_blocks.1.attentions.12.to_v.weight"],
    ["attentions.0.proj_attn.bias", "attentions.0.to_out.0.bias"],
  ])("%s becomes %s", (old, current) => expect(renameDeprecatedAttention(old)).toBe(current));

  it.each([
    "decoder.mid_block.attentions.0.to_q.weight",
    "decoder.mid_block.attentions.0.group_norm.weight",
    "text_model.encoder.layers.0.self_attn.key.weight",
    "blip.text_encoder.encoder.layer.0.attention.self.query.weight",
    "decoder.mid_block.attentions.0.query.weight.extra",
  ])("%s stays", (key) => expect(renameDeprecatedAttention(key)).toBe(key));
});
