"""Make a network more robust by training one of its layers: ``python -m examples.harden_one_layer``."""

import copy

import semirobust as sr


def main() -> None:
    """Harden the most critical layer by CLAT; beside it, adversarial training of everything for as long."""
    data, threat = sr.load_data("digits"), sr.Linf(0.15)
    model = sr.build_model("resnet8", num_classes=10, width=0.5, in_channels=1, image_size=8)
    images = data.train.first(600)
    attack = sr.PGD(threat, steps=3)
    training = sr.Training(objective=sr.Adversarial(), attack=attack, epochs=5, batch_size=32)
    training(model, images, seed=0)

    networks = {"start": model, "CLAT, one layer": copy.deepcopy(model), "PGD-AT": copy.deepcopy(model)}
    sr.harden(networks["CLAT, one layer"], images, "clat", attack=attack, epochs=3, k=1, seed=0)
    sr.harden(networks["PGD-AT"], images, "adversarial", attack=attack, epochs=3, seed=0)

    x, y = data.test.first(200).all()
    for name, network in networks.items():
        found = sr.evaluate(network, x, y, attacks=[sr.PGD(threat, steps=20)], seed=0).summary()
        print(f"{name:16} " + ", ".join(f"{attack} {float(share):.1%}" for attack, share in found.items()))


if __name__ == "__main__":
    main()
