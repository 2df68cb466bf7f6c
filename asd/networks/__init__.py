"""Networks: Keras models from a section of the YAML, without training.

`kinds.KINDS` lists them by the name that `kind` has in the YAML; the sections need no TensorFlow,
the layers and the models do.
"""
