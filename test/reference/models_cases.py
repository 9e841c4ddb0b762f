"""The configurations of the golden networks: small, and between them every path that SD 1.x, SD 2.x and the demo models take."""

CLIP_TEXTS = {
    # SD 1.x: quick_gelu, eos_token_id 2 in config.json (the pooled state is then found by the largest id), padded with the end token.
    "tiny-sd/text_encoder": dict(
        vocab_size=600, hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=4, max_position_embeddings=20,
        hidden_act="quick_gelu", bos_token_id=598, eos_token_id=2, pad_token_id=599, projection_dim=32,
    ),
    # SD 2.x: gelu, another head size, an end token that is not the largest id, padded with another token.
    "clip-text-sd2": dict(
        vocab_size=70, hidden_size=48, intermediate_size=96, num_hidden_layers=2, num_attention_heads=3, max_position_embeddings=13,
        hidden_act="gelu", bos_token_id=68, eos_token_id=66, pad_token_id=0, projection_dim=32, layer_norm_eps=1e-5,
    ),
}

CLIP = {
    "clip": dict(
        projection_dim=24,
        text_config=dict(
            vocab_size=80, hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=4, max_position_embeddings=12,
            hidden_act="quick_gelu", bos_token_id=78, eos_token_id=79, pad_token_id=79,
        ),
        vision_config=dict(
            hidden_size=48, intermediate_size=96, num_hidden_layers=2, num_attention_heads=3, image_size=32, patch_size=8, hidden_act="quick_gelu",
        ),
    ),
}

UNETS = {
    # SD 1.x: convolutional projections, attention_head_dim an int that is the number of heads.
    "tiny-sd/unet": dict(
        sample_size=16, in_channels=4, out_channels=4, layers_per_block=2, block_out_channels=(8, 16), norm_num_groups=4, cross_attention_dim=32,
        down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"), up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"), attention_head_dim=4,
    ),
    # SD 2.x: linear projections, heads as a list, three levels.
    "unet-sd2": dict(
        sample_size=8, in_channels=4, out_channels=4, layers_per_block=1, block_out_channels=(8, 12, 16), norm_num_groups=4, cross_attention_dim=24,
        down_block_types=("CrossAttnDownBlock2D", "CrossAttnDownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "CrossAttnUpBlock2D", "CrossAttnUpBlock2D"),
        attention_head_dim=[2, 3, 4], use_linear_projection=True, transformer_layers_per_block=[1, 2, 1],
    ),
    # Two levels on 8x8 latents, attention below and in the middle, more channels in than out.
    "unet-small": dict(
        sample_size=8, in_channels=8, out_channels=4, layers_per_block=1, block_out_channels=(8, 16), norm_num_groups=4, cross_attention_dim=16,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"), up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"), attention_head_dim=2,
        flip_sin_to_cos=False, freq_shift=1, norm_eps=1e-4,
    ),
}

# Stable Diffusion XL: an added embedding, a finest level without attention, transformer blocks and heads per level, linear projections.
UNETS_XL = {
    "tiny-sdxl/unet": dict(
        sample_size=8, in_channels=4, out_channels=4, layers_per_block=1, block_out_channels=(8, 8, 12), norm_num_groups=4, cross_attention_dim=56,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
        attention_head_dim=[1, 2, 3], use_linear_projection=True, transformer_layers_per_block=[1, 1, 2],
        addition_embed_type="text_time", addition_time_embed_dim=8, projection_class_embeddings_input_dim=20 + 6 * 8,
    ),
}

# Its second text encoder, with a projection narrower than its states; and the text encoder of SD 2.x for the tokenizer of tiny-sd.
CLIP_TEXTS_PROJECTED = {
    "tiny-sdxl/text_encoder_2": dict(
        vocab_size=600, hidden_size=24, intermediate_size=48, num_hidden_layers=3, num_attention_heads=3, max_position_embeddings=20,
        hidden_act="gelu", bos_token_id=598, eos_token_id=2, pad_token_id=1, projection_dim=20,
    ),
}
CLIP_TEXTS_SD2 = {
    "tiny-sd2/text_encoder": dict(
        vocab_size=600, hidden_size=24, intermediate_size=48, num_hidden_layers=2, num_attention_heads=4, max_position_embeddings=20,
        hidden_act="gelu", bos_token_id=598, eos_token_id=2, pad_token_id=1, projection_dim=16,
    ),
}

AUTOENCODERS = {
    "tiny-sd/vae": dict(
        sample_size=32, latent_channels=4, layers_per_block=1, block_out_channels=(8, 16, 16), norm_num_groups=4,
        down_block_types=("DownEncoderBlock2D",) * 3, up_block_types=("UpDecoderBlock2D",) * 3,
    ),
    "vae-plain": dict(
        sample_size=16, latent_channels=3, layers_per_block=2, block_out_channels=(8, 16), norm_num_groups=8,
        down_block_types=("DownEncoderBlock2D",) * 2, up_block_types=("UpDecoderBlock2D",) * 2,
        mid_block_add_attention=False, use_quant_conv=False, use_post_quant_conv=False,
    ),
}

MED = dict(
    architectures=["BertModel"], attention_probs_dropout_prob=0.1, hidden_act="gelu", hidden_dropout_prob=0.1, initializer_range=0.02,
    layer_norm_eps=1e-12, model_type="bert", pad_token_id=0, type_vocab_size=2, add_cross_attention=True,
)

IMAGE_REWARDS = {
    # Heads are width / 64, text sizes and encoder_width (which the vision width overrides) as the real files have them.
    "image-reward": dict(
        vision=dict(image_size=32, patch=8, width=128, depth=2, heads=2), config=None, max_text_length=12,
        med=MED | dict(vocab_size=60, hidden_size=32, num_hidden_layers=2, num_attention_heads=4, intermediate_size=48,
                       max_position_embeddings=20, encoder_width=32),
    ),
    # Vision heads given by a config.json.
    "image-reward-heads": dict(
        vision=dict(image_size=24, patch=8, width=48, depth=2, heads=4), config=dict(vision_heads=4, max_text_length=9), max_text_length=9,
        med=MED | dict(vocab_size=40, hidden_size=24, num_hidden_layers=3, num_attention_heads=3, intermediate_size=40,
                       max_position_embeddings=16, encoder_width=768),
    ),
}
