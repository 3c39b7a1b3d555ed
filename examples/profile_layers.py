"""Which layer adds most weakness? ``python -m examples.profile_layers``."""

import semirobust as sr


def main() -> None:
    """Train a small residual network adversarially, and print the criticality of each layer."""
    data, threat = sr.load_data("digits"), sr.Linf(0.15)
    model = sr.build_model("resnet8", num_classes=10, width=0.5, in_channels=1, image_size=8)
    attack = sr.PGD(threat, steps=3)
    training = sr.Training(objective=sr.Adversarial(), attack=attack, epochs=5, batch_size=32)
    training(model, data.train.first(600), seed=0)

    x, y = data.test.first(200).all()
    layers = sr.layer_map(model, x)
    profile = sr.criticality(model, x, y, threat=threat, seed=0)
    print("layer                           criticality   95 % interval")
    for layer, value, low, high in zip(layers, profile.values, profile.low, profile.high, strict=True):
        print(f"{layer.index:2} {layer.name:28} {value:11.3f}   {low:.3f} to {high:.3f}")


if __name__ == "__main__":
    main()
