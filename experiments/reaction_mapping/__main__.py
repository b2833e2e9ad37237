"""Entry point: masked-token recovery and atom mapping by published weights."""

from pathlib import Path

from attnjax import config as configs
from attnjax.runs import write_results
from experiments.reaction_mapping import filling, measure, network, own, report
from experiments.reaction_mapping.config import PRESETS, MappingConfig
from experiments.reaction_mapping.published import Published, load


def main(config: MappingConfig, workdir: Path) -> None:
  """Maps the reaction of the config, or else all with a published map."""
  published = load()
  if config.reaction:
    own.show(config, published, workdir)
    return

  # Reactions with [UNK] tokens would test the vocabulary, not the attention.
  known = [case for case in published.cases if case.known]
  model, vocabulary = published.model, published.vocabulary
  untrained = [network.untrained(seed) for seed in range(config.seeds)]
  # One row a text: several maps are of reactions that RDKit writes alike.
  reactions = list({case.read.text: case.read for case in known}.values())
  filled = [
    filling.filled(one, vocabulary, reactions) for one in (model, *untrained)
  ]
  print(report.filled_table(filled[0], filled[1:]))
  products = filling.products(model, vocabulary, reactions)
  print(report.product_table(products, filled[0]))

  maps, cases = check(config, published)
  print(maps)
  weights = measure.look(model, vocabulary, known)
  heads = measure.head_shares(known, weights)
  print(report.head_table(heads))
  atoms = measure.share_all(config, published, known, weights, untrained)
  print(report.share_table(atoms))

  found = {"reactions": [one.text for one in reactions], "filled": filled}
  found |= {"products": products, "maps": cases}
  write_results(workdir, found | {"heads": heads.tolist(), "atoms": atoms})
  print(report.draw_heads(workdir / "heads.png", heads))
  print(report.draw_largest(workdir, config, known, weights))


def check(config: MappingConfig, published: Published):
  """Table and records of our maps beside the published ones, all reactions."""
  rows = filling.encoded(
    published.vocabulary, [case.read for case in published.cases]
  )
  weights = network.attention(published.model, rows)
  return report.case_table(config, published.cases, weights)


if __name__ == "__main__":
  configs.run(main, PRESETS, experiment="reaction_mapping")
