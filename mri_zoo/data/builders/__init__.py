"""TensorFlow Datasets builders: importing one of these modules makes its dataset known to `tfds.load`."""
