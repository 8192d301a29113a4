"""One module for each command: parse, call, write."""

COMMANDS = {
    "Train and evaluate": {
        "train": "train a net, or continue a training run",
        "evaluate": "score nets on a validation set",
        "prepare-images": "pack a large folder of pictures for fast training",
        "export-weights": "write a trained net to one .safetensors file",
        "import-weights": "make a net of an ONNX model or a PyTorch checkpoint",
    },
    "Look inside a net": {
        "deconv": "project the top-k units of a layer's feature maps to pixels (Fig 2)",
        "atlas": "write pages with every feature map of a net",
        "evolution": "draw feature maps over the course of training (Fig 4)",
        "first-layers": "compare the first layers of nets (Fig 6)",
        "occlusion": "hide parts of a picture and see what changes (Fig 7)",
        "pointing": "check occlusion maps where the object is known",
        "invariance": "measure how features move with the picture (Fig 5)",
        "correspondence": "measure whether nets relate the same parts (Table 1)",
    },
    "Experiments of the paper": {
        "ensemble": "train several nets and average them (Table 2)",
        "ablation": "train the net without some of its layers (Table 3)",
        "transfer": "classify other pictures with the net's features (Tables 4 to 6, Fig 9)",
        "layer-features": "measure what each layer's features are worth (Table 7)",
        "class-split": "list the pictures of one half of the classes",
        "overlap": "find near-duplicate pictures in two collections",
    },
}
"""What each command does, by its name, in groups; the module of "deconv" is `commands.deconv`."""
