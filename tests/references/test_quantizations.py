import pytest

from model_provisioner.references.quantizations import Offer, offers, quantization_of


@pytest.mark.parametrize(
    ("path", "quantization"),
    [
        ("Qwen3-8B-Q4_K_M.gguf", "Q4_K_M"),
        ("qwen2.5-0.5b-instruct-q4_k_m.gguf", "Q4_K_M"),
        ("gemma-2b.Q8_0.gguf", "Q8_0"),
        ("model.i1-IQ2_XXS.gguf", "IQ2_XXS"),
        ("Qwen3-8B-UD-Q4_K_XL.gguf", "UD-Q4_K_XL"),
        ("Phi-3-mini-4k-instruct-fp16.gguf", "F16"),
        ("gpt-oss-20b-MXFP4.gguf", "MXFP4"),
        ("gpt-oss-20b-mxfp4_moe.gguf", "MXFP4_MOE"),
        ("bitnet-TQ2_0.gguf", "TQ2_0"),
        ("Q4_0_4_4/llama-Q4_0_4_4.gguf", "Q4_0_4_4"),
        ("BF16/Qwen3-8B-BF16-00001-of-00002.gguf", "BF16"),
        ("Q6_K/part.gguf", "Q6_K"),
        ("Q6_K/other-Q4_0.gguf", "Q4_0"),
        ("tiny.gguf", None),
        ("q1w2e3.gguf", None),
        ("Qwen3-8B.gguf", None),
    ],
)
def test_the_quantization_is_the_one_that_the_name_says_else_its_folder(path, quantization):
    assert quantization_of(path) == quantization


def test_a_split_counts_as_one_and_what_lies_beside_models_is_told_apart():
    names = [
        "README.md",
        "BF16/m-BF16-00002-of-00002.gguf",
        "BF16/m-BF16-00001-of-00002.gguf",
        "m-Q4_K_M.gguf",
        "mmproj-F16.gguf",
        "imatrix_unsloth.gguf",
        "m-imatrix-Q8_0.gguf",
    ]
    assert offers(names) == [
        Offer(("BF16/m-BF16-00001-of-00002.gguf", "BF16/m-BF16-00002-of-00002.gguf"), "BF16", "model"),
        Offer(("imatrix_unsloth.gguf",), None, "imatrix"),
        Offer(("m-Q4_K_M.gguf",), "Q4_K_M", "model"),
        Offer(("m-imatrix-Q8_0.gguf",), "Q8_0", "model"),
        Offer(("mmproj-F16.gguf",), "F16", "mmproj"),
    ]


def test_shards_of_two_folders_are_two_splits():
    names = ["a/m-00001-of-00002.gguf", "a/m-00002-of-00002.gguf", "b/m-00001-of-00002.gguf"]
    assert [offer.names for offer in offers(names)] == [tuple(names[:2]), tuple(names[2:])]
