"""ImageReward's networks (BLIP's ViT, BERT with cross-attention, linear head) with its checkpoint's keys, at small size."""
import torch
import torch.nn.functional as F
from torch import nn

MEAN = torch.tensor([0.48145466, 0.4578275, 0.40821073]).view(1, 3, 1, 1)
STD = torch.tensor([0.26862954, 0.26130258, 0.27577711]).view(1, 3, 1, 1)
SCORE_MEAN, SCORE_STD = 0.16717362830052426, 1.0333394966054072


def normalise(images):
    """uint8 NHWC, 64x64 (no resizing needed) -> CLIP-normalised NCHW."""
    return (images.permute(0, 3, 1, 2).float() / 255 - MEAN) / STD


def heads_of(x, heads):
    return x.view(x.shape[0], x.shape[1], heads, -1).transpose(1, 2)


def attend(q, k, v, mask=None):
    """Plain products: on CPUs the fused kernel's backward is several times slower at these sizes."""
    weights = (q * q.shape[-1] ** -0.5) @ k.transpose(-1, -2)
    if mask is not None:
        weights = weights + mask
    return weights.softmax(-1).to(v.dtype) @ v


class VisionAttention(nn.Module):
    def __init__(self, width, heads):
        super().__init__()
        self.heads, self.qkv, self.proj = heads, nn.Linear(width, 3 * width), nn.Linear(width, width)

    def forward(self, x):
        q, k, v = (heads_of(part, self.heads) for part in self.qkv(x).chunk(3, -1))
        return self.proj(attend(q, k, v).transpose(1, 2).flatten(2))


class VisionMlp(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.fc1, self.fc2 = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def forward(self, x):
        return self.fc2(F.gelu(self.fc1(x)))


class VisionBlock(nn.Module):
    def __init__(self, width, heads):
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(width, eps=1e-6), nn.LayerNorm(width, eps=1e-6)
        self.attn, self.mlp = VisionAttention(width, heads), VisionMlp(width)

    def forward(self, x):
        x = x + self.attn(self.norm1(x))
        return x + self.mlp(self.norm2(x))


class Vision(nn.Module):
    def __init__(self, width=128, layers=4, heads=4, patch=8, size=64):
        super().__init__()
        self.cls_token = nn.Parameter(torch.randn(1, 1, width) * 0.02)
        self.pos_embed = nn.Parameter(torch.randn(1, 1 + (size // patch) ** 2, width) * 0.1)
        self.patch_embed = nn.Module()
        self.patch_embed.proj = nn.Conv2d(3, width, patch, patch)
        self.blocks = nn.ModuleList(VisionBlock(width, heads) for _ in range(layers))
        self.norm = nn.LayerNorm(width, eps=1e-6)

    def forward(self, x):
        x = self.patch_embed.proj(x).flatten(2).transpose(1, 2)
        x = torch.cat([self.cls_token.expand(len(x), -1, -1).to(x.dtype), x], 1) + self.pos_embed
        for block in self.blocks:
            x = block(x)
        return self.norm(x)


class TextAttention(nn.Module):
    def __init__(self, width, heads, source):
        super().__init__()
        self.heads = heads
        self.self = nn.Module()
        self.self.query, self.self.key, self.self.value = nn.Linear(width, width), nn.Linear(source, width), nn.Linear(source, width)
        self.output = nn.Module()
        self.output.dense, self.output.LayerNorm = nn.Linear(width, width), nn.LayerNorm(width, eps=1e-12)

    def keys_values(self, source):
        return heads_of(self.self.key(source), self.heads), heads_of(self.self.value(source), self.heads)

    def forward(self, x, k, v, mask=None):
        y = attend(heads_of(self.self.query(x), self.heads), k, v, mask)
        return self.output.LayerNorm(self.output.dense(y.transpose(1, 2).flatten(2)) + x)


class TextLayer(nn.Module):
    def __init__(self, width, heads, source):
        super().__init__()
        self.attention, self.crossattention = TextAttention(width, heads, width), TextAttention(width, heads, source)
        self.intermediate, self.output = nn.Module(), nn.Module()
        self.intermediate.dense = nn.Linear(width, 4 * width)
        self.output.dense, self.output.LayerNorm = nn.Linear(4 * width, width), nn.LayerNorm(width, eps=1e-12)

    def forward(self, x, mask, image, pick):
        x = self.attention(x, *self.attention.keys_values(x), mask)
        # Each picture's keys and values are computed once and shared by all the prompts it is scored with.
        k, v = self.crossattention.keys_values(image)
        x = self.crossattention(x, k[pick], v[pick])
        return self.output.LayerNorm(self.output.dense(F.gelu(self.intermediate.dense(x))) + x)


class Text(nn.Module):
    def __init__(self, vocabulary, width=128, layers=3, heads=4, positions=40, source=128):
        super().__init__()
        self.embeddings = nn.Module()
        self.embeddings.word_embeddings = nn.Embedding(vocabulary, width)
        self.embeddings.position_embeddings = nn.Embedding(positions, width)
        for table in (self.embeddings.word_embeddings, self.embeddings.position_embeddings):
            nn.init.normal_(table.weight, std=0.3)
        self.embeddings.LayerNorm = nn.LayerNorm(width, eps=1e-12)
        self.encoder = nn.Module()
        self.encoder.layer = nn.ModuleList(TextLayer(width, heads, source) for _ in range(layers))

    def forward(self, ids, image, pick):
        mask = (ids == 0)[:, None, None, :].float() * -10000
        e = self.embeddings
        x = e.LayerNorm(e.word_embeddings(ids) + e.position_embeddings.weight[: ids.shape[1]])
        for layer in self.encoder.layer:
            x = layer(x, mask, image, pick)
        return x


class Head(nn.Module):
    def __init__(self, width):
        super().__init__()
        sizes = [(width, 1024), None, (1024, 128), None, (128, 64), None, (64, 16), (16, 1)]
        self.layers = nn.ModuleDict({str(i): nn.Linear(*s) for i, s in enumerate(sizes) if s})

    def forward(self, x):
        for layer in self.layers.values():
            x = layer(x)
        return x[..., 0]


class ImageReward(nn.Module):
    def __init__(self, vocabulary, layers=4, text_layers=3):
        super().__init__()
        self.blip = nn.Module()
        self.blip.visual_encoder = Vision(layers=layers)
        self.blip.text_encoder = Text(vocabulary, layers=text_layers)
        self.mlp = Head(128)

    def forward(self, pixels, ids, pick):
        """Scores text i with picture pick[i]; also the image tokens and the text's last states."""
        image = self.blip.visual_encoder(pixels)
        states = self.blip.text_encoder(ids, image, pick)
        return self.mlp(states[:, 0].float()), image, states


def med_config(vocabulary, text_layers=3):
    return {
        "architectures": ["BertModel"], "attention_probs_dropout_prob": 0.1, "hidden_act": "gelu", "hidden_dropout_prob": 0.1, "hidden_size": 128,
        "initializer_range": 0.02, "intermediate_size": 512, "layer_norm_eps": 1e-12, "max_position_embeddings": 40, "model_type": "bert",
        "num_attention_heads": 4, "num_hidden_layers": text_layers, "pad_token_id": 0, "type_vocab_size": 2, "vocab_size": vocabulary,
        "encoder_width": 128, "add_cross_attention": True,
    }  # fmt: skip
