"""Tables of modules and names that have moved or were renamed.

`attnjax.moved` keeps them importable for one version, with a
`DeprecationWarning`; the next version may drop an entry.
"""

__all__ = ["MOVED", "NAMES"]

# Old module -> the modules that have its names, the likeliest first. One
# version keeps an old path; the next may drop it.
MOVED: dict[str, tuple[str, ...]] = {
  "attnjax.data.kinds": ("attnjax.data.file_formats",),
  "attnjax.data.sides": ("attnjax.data.split_by_hash",),
  "attnjax.models.albert_weights": ("attnjax.models.albert",),
  "attnjax.models.decoder_block": ("attnjax.models.decoder",),
  "attnjax.models.hypotheses": ("attnjax.models.beam_search",),
  "attnjax.models.memory": ("attnjax.models.encoded_source",),
  "attnjax.models.parameters": ("attnjax.models.decoder",),
  "attnjax.models.seq2seq_config": ("attnjax.models.seq2seq",),
  "attnjax.models.vit_config": ("attnjax.models.vit",),
  "attnjax.nn.block": ("attnjax.nn.transformer_block",),
  "attnjax.nn.content_glimpse": ("attnjax.nn.glimpse",),
  "attnjax.nn.cross_block": ("attnjax.nn.transformer_block",),
  "attnjax.nn.memory": ("attnjax.nn.neural_memory",),
  "attnjax.nn.self_attention": ("attnjax.nn.attention",),
  "attnjax.nn.step_attention": ("attnjax.nn.recurrent",),
  "attnjax.nn.titans": (
    "attnjax.nn.memory_blocks",
    "attnjax.nn.memory_as_context",
    "attnjax.nn.mixer",
  ),
  "attnjax.nn.window": ("attnjax.nn.window_attention",),
  "attnjax.ops.alike": ("attnjax.ops.vmap_consistent",),
  "attnjax.ops.angles": ("attnjax.ops.positions",),
  "attnjax.ops.attention.api": ("attnjax.ops.attention.attend",),
  "attnjax.ops.attention.blocks": ("attnjax.ops.attention.block_sizes",),
  "attnjax.ops.attention.call": ("attnjax.ops.attention.arguments",),
  "attnjax.ops.attention.check": ("attnjax.ops.attention.validate",),
  "attnjax.ops.attention.checked": ("attnjax.ops.attention.arguments",),
  "attnjax.ops.attention.choice": ("attnjax.ops.attention.implementations",),
  "attnjax.ops.attention.explicit": (
    "attnjax.ops.attention.explicit_sharding",
  ),
  "attnjax.ops.attention.modified": ("attnjax.ops.attention.logits",),
  "attnjax.ops.attention.online": ("attnjax.ops.attention.online_softmax",),
  "attnjax.ops.attention.padding": ("attnjax.ops.attention.block_sizes",),
  "attnjax.ops.attention.plan": ("attnjax.ops.attention.live_tiles",),
  "attnjax.ops.attention.reading": ("attnjax.ops.attention.tile_operands",),
  "attnjax.ops.attention.selection": ("attnjax.ops.attention.tile_operands",),
  "attnjax.ops.attention.sums": ("attnjax.ops.attention.online_softmax",),
  "attnjax.ops.attention.tangent": ("attnjax.ops.attention.online_softmax",),
  "attnjax.ops.cache_check": ("attnjax.ops.cache",),
  "attnjax.ops.cross": ("attnjax.ops.cross_attention",),
  "attnjax.ops.divided": ("attnjax.ops.explicit_axes",),
  "attnjax.ops.drop": ("attnjax.ops.feature_dropout",),
  "attnjax.ops.forgotten": ("attnjax.ops.forgotten_tokens",),
  "attnjax.ops.glimpse.estimators": ("attnjax.ops.glimpse",),
  "attnjax.ops.glimpse.layout": ("attnjax.ops.glimpse.primitive",),
  "attnjax.ops.glimpse.weigh": ("attnjax.ops.glimpse.primitive",),
  "attnjax.ops.known": ("attnjax.ops.value_checks",),
  "attnjax.ops.masks.covering": ("attnjax.ops.masks.arrays",),
  "attnjax.ops.masks.drawing": ("attnjax.ops.masks.picture",),
  "attnjax.ops.masks.extents": (
    "attnjax.ops.masks.rules",
    "attnjax.ops.masks.padding",
    "attnjax.ops.masks.tables",
  ),
  "attnjax.ops.masks.ranges": ("attnjax.ops.masks.bounds",),
  "attnjax.ops.masks.rectangles": ("attnjax.ops.masks.bounds",),
  "attnjax.ops.masks.rows": ("attnjax.ops.masks.bounds",),
  "attnjax.ops.masks.table": ("attnjax.ops.masks.tables",),
  "attnjax.ops.memory.api": ("attnjax.ops.memory.read_write",),
  "attnjax.ops.memory.exact": ("attnjax.ops.memory.token_gradients",),
  "attnjax.ops.memory.features": ("attnjax.ops.memory.structures",),
  "attnjax.ops.memory.gradient": ("attnjax.ops.memory.token_gradients",),
  "attnjax.ops.memory.matrices": ("attnjax.ops.memory.chunk_outputs",),
  "attnjax.ops.memory.presets": (
    "attnjax.ops.memory.named_rules",
    "attnjax.ops.memory.rule",
  ),
  "attnjax.ops.memory.raised": ("attnjax.ops.memory.state",),
  "attnjax.ops.memory.response": ("attnjax.ops.memory.recurrence",),
  "attnjax.ops.memory.whole": ("attnjax.ops.memory.chunked",),
  "attnjax.ops.node": ("attnjax.ops.pytree_dataclass",),
  "attnjax.ops.normalizers.choosing": ("attnjax.ops.normalizers",),
  "attnjax.ops.normalizers.pointwise": ("attnjax.ops.normalizers",),
  "attnjax.ops.normalizers.protocol": ("attnjax.ops.normalizers",),
  "attnjax.ops.normalizers.sharing": ("attnjax.ops.normalizers",),
  "attnjax.ops.pattern": ("attnjax.ops.patterns",),
  "attnjax.ops.rollout": ("attnjax.ops.patterns",),
  "attnjax.ops.score_mods.protocol": ("attnjax.ops.score_mods",),
  "attnjax.ops.score_mods.relative": ("attnjax.ops.score_mods",),
  "attnjax.ops.score_mods.rules": ("attnjax.ops.score_mods",),
  "attnjax.ops.scoring.additive": ("attnjax.ops.scoring",),
  "attnjax.ops.scoring.geometry": ("attnjax.ops.scoring",),
  "attnjax.ops.scoring.products": ("attnjax.ops.scoring",),
  "attnjax.ops.scoring.protocol": ("attnjax.ops.scoring",),
  "attnjax.ops.tiles.derived": ("attnjax.ops.tiles.derived_functions",),
  "attnjax.ops.tiles.primitive": ("attnjax.ops.tiles.tile_sum",),
  "attnjax.ops.tiles.sweep": ("attnjax.ops.tiles.fold",),
  "attnjax.ops.varying": ("attnjax.ops.shard_map_axes",),
  "attnjax.parallel.carried": ("attnjax.parallel.collectives",),
  "attnjax.parallel.compute": (
    "attnjax.parallel.division",
    "attnjax.parallel.collectives",
  ),
  "attnjax.parallel.gather": ("attnjax.parallel.collectives",),
  "attnjax.parallel.layouts": ("attnjax.parallel.token_layouts",),
  "attnjax.parallel.ring": ("attnjax.parallel.collectives",),
  "attnjax.parallel.sharded": ("attnjax.parallel.sharded_attention",),
  "attnjax.parallel.wiring": ("attnjax.parallel.mesh",),
  "attnjax.plan.devices": ("attnjax.plan.topology",),
  "attnjax.plan.flops": ("attnjax.plan.costs",),
  "attnjax.plan.gpu_target": ("attnjax.plan.hardware",),
  "attnjax.plan.hlo_text": ("attnjax.plan.hlo",),
  "attnjax.plan.memory": ("attnjax.plan.device_memory",),
  "attnjax.plan.picture": ("attnjax.plan.figure",),
  "attnjax.plan.traffic": ("attnjax.plan.costs",),
  "attnjax.plan.written": ("attnjax.plan",),
  "attnjax.testing.budget": ("attnjax.testing.error_budget",),
  "attnjax.testing.compiling": ("attnjax.testing.runner",),
  "attnjax.testing.dense": ("attnjax.testing.oracle",),
  "attnjax.testing.devices": ("attnjax.testing.laws",),
  "attnjax.testing.draws": ("attnjax.testing.problem",),
  "attnjax.testing.dropout": ("attnjax.testing.dropout_laws",),
  "attnjax.testing.locality": ("attnjax.testing.hidden_keys",),
  "attnjax.testing.mapped": ("attnjax.testing.laws",),
  "attnjax.testing.memory": ("attnjax.testing.memory_growth",),
  "attnjax.testing.parts.matching": ("attnjax.testing.parts",),
  "attnjax.testing.parts.modifying": ("attnjax.testing.parts",),
  "attnjax.testing.parts.normalizing": ("attnjax.testing.parts",),
  "attnjax.testing.random": ("attnjax.testing.strategies",),
  "attnjax.testing.rules": ("attnjax.testing.mask_descriptions",),
  "attnjax.testing.structure": ("attnjax.testing.hidden_keys",),
  "attnjax.testing.subject": ("attnjax.testing.runner",),
  "attnjax.testing.truth": ("attnjax.testing.error_budget",),
  "attnjax.training.alone": ("attnjax.training.workdir",),
  "attnjax.training.digests": ("attnjax.training.step_directories",),
  "attnjax.training.feed": ("attnjax.training.global_batches",),
  "attnjax.training.fit": ("attnjax.runs",),
  "attnjax.training.json_lines": ("attnjax.training.metrics",),
  "attnjax.training.launchers": ("attnjax.training.cluster",),
  "attnjax.training.leaves": ("attnjax.training.flat_state",),
  # `MeshConfig` is in runs now, `AXES` in training.
  "attnjax.training.mesh": ("attnjax.runs", "attnjax.training"),
  "attnjax.training.pmap_step": ("attnjax.training",),
  "attnjax.training.retention": ("attnjax.training.checkpoint",),
  "attnjax.training.run": ("attnjax.training.loop",),
  "attnjax.training.train_config": ("attnjax.runs",),
  "attnjax.training.trainable": ("attnjax.training.state",),
  "attnjax.training.workdir_probe": ("attnjax.training.workdir",),
}

# Old name -> where it is now, a path of attributes below a module. What was
# merged away leads to what does its work now, by another signature perhaps.
NAMES: dict[str, str] = {
  "attnjax.data.ExampleBatches": "attnjax.data.TrainBatches",
  "attnjax.data.examples.ExampleBatches": "attnjax.data.TrainBatches",
  "attnjax.data.kinds.Kind": "attnjax.data.file_formats.FileFormat",
  "attnjax.data.kinds.kind_of": "attnjax.data.file_formats.detect_format",
  "attnjax.data.side_of": "attnjax.data.hash_split",
  "attnjax.data.sides.Side": "attnjax.data.split_by_hash.SplitName",
  "attnjax.data.sides.side_of": "attnjax.data.split_by_hash.hash_split",
  "attnjax.config.check_at_least": "attnjax.retired.check_at_least",
  "attnjax.config.checks.check_at_least": "attnjax.retired.check_at_least",
  "attnjax.models.block_stack.make_stacks": (
    "attnjax.models.encoder_decoder._make_stacks"
  ),
  "attnjax.models.memory_lm.ARCHITECTURES": (
    "attnjax.models.memory_config.ARCHITECTURES"
  ),
  "attnjax.models.memory_lm.RULES": "attnjax.models.memory_config.RULES",
  "attnjax.models.memory_lm.make_rule": (
    "attnjax.models.memory_config.make_rule"
  ),
  "attnjax.models.sampling.check_sampling": (
    "attnjax.models.sampling.checked_options"
  ),
  "attnjax.nn.memory_blocks.MemoryAsContext": (
    "attnjax.nn.memory_as_context.MemoryAsContext"
  ),
  "attnjax.nn.glimpse.check_sizes": "attnjax.retired.check_sizes",
  "attnjax.nn.glimpse.embedded": "attnjax.retired.embedded",
  "attnjax.nn.step_attention.RULES": "attnjax.nn.recurrent.STEP_SCORES",
  "attnjax.ops.attention.call.AUX": "attnjax.ops.attention.validate.AUX",
  "attnjax.ops.attention.check.both_segments": (
    "attnjax.ops.attention.validate.segments"
  ),
  "attnjax.ops.attention.online.folded": (
    "attnjax.ops.attention.online_softmax.online_softmax"
  ),
  "attnjax.ops.attention.plan.plan": (
    "attnjax.ops.attention.live_tiles.live_tiles"
  ),
  "attnjax.ops.attention.plan.verdict": (
    "attnjax.ops.attention.live_tiles.decide_tiles"
  ),
  "attnjax.ops.attention.plan.verdict_codes": (
    "attnjax.ops.attention.live_tiles.tile_codes"
  ),
  "attnjax.ops.attention.reading.Form": (
    "attnjax.ops.attention.tile_operands.Settings"
  ),
  "attnjax.ops.attention.reading.Reading": (
    "attnjax.ops.attention.tile_operands.CallOperands"
  ),
  "attnjax.ops.attention.selection.select": (
    "attnjax.ops.attention.tile_operands.select_top_k"
  ),
  "attnjax.ops.attention.sums.finite": (
    "attnjax.ops.attention.online_softmax._finite"
  ),
  "attnjax.ops.attention.sums.layouts": (
    "attnjax.ops.attention.online_softmax._subscripts"
  ),
  "attnjax.ops.attention.sums.sums_of": (
    "attnjax.ops.attention.online_softmax._sums_of_tile"
  ),
  "attnjax.ops.attention.sums.totals": (
    "attnjax.ops.attention.online_softmax._needs_total"
  ),
  "attnjax.ops.attention.tangent.tangent": (
    "attnjax.ops.attention.online_softmax._result_tangent"
  ),
  "attnjax.ops.cache_check.check_tokens": "attnjax.ops.cache._check_tokens",
  "attnjax.ops.cache_check.checked_lengths": "attnjax.ops.cache._token_counts",
  "attnjax.ops.cache_check.checked_rewind": "attnjax.ops.cache._check_rewind",
  "attnjax.ops.forgotten.misses": "attnjax.ops.forgotten_tokens.sees_forgotten",
  "attnjax.ops.glimpse.layout.Layout": (
    "attnjax.ops.glimpse.primitive.WeightAxes"
  ),
  "attnjax.ops.masks.extents.Extent": "attnjax.ops.masks.padding.BlockPadding",
  "attnjax.ops.masks.rows.Verdict": "attnjax.ops.masks.bounds.SomeEvery",
  "attnjax.ops.masks.rules.from_fn": "attnjax.ops.masks.functions.from_fn",
  "attnjax.ops.masks.tables.from_fn": "attnjax.ops.masks.functions.from_fn",
  "attnjax.ops.memory.rule.atlas": "attnjax.memory.atlas",
  "attnjax.ops.memory.rule.delta_net": "attnjax.memory.delta_net",
  "attnjax.ops.memory.rule.gated_delta_net": "attnjax.memory.gated_delta_net",
  "attnjax.ops.memory.rule.lact": "attnjax.memory.lact",
  "attnjax.ops.memory.rule.linear_attention": "attnjax.memory.linear_attention",
  "attnjax.ops.memory.rule.memora": "attnjax.memory.memora",
  "attnjax.ops.memory.rule.moneta": "attnjax.memory.moneta",
  "attnjax.ops.memory.rule.titans": "attnjax.memory.titans",
  "attnjax.ops.memory.rule.ttt_linear": "attnjax.memory.ttt_linear",
  "attnjax.ops.memory.rule.ttt_mlp": "attnjax.memory.ttt_mlp",
  "attnjax.ops.memory.rule.yaad": "attnjax.memory.yaad",
  "attnjax.ops.memory.exact.is_exact": (
    "attnjax.ops.memory.token_gradients.has_linear_gradients"
  ),
  "attnjax.ops.memory.exact.written_rows": (
    "attnjax.ops.memory.token_gradients.delta_rule_updates"
  ),
  "attnjax.ops.memory.gradient.Factors": (
    "attnjax.ops.memory.token_gradients.OuterProducts"
  ),
  "attnjax.ops.memory.gradient.factors": (
    "attnjax.ops.memory.token_gradients.token_gradients"
  ),
  "attnjax.ops.memory.gradient.matrices": (
    "attnjax.ops.memory.token_gradients.weighted_sum"
  ),
  "attnjax.ops.memory.matrices.read_matrices": (
    "attnjax.ops.memory.chunk_outputs.materialized_outputs"
  ),
  "attnjax.ops.memory.raised.raised": "attnjax.ops.memory.state.for_compute",
  "attnjax.ops.memory.raised.wide": "attnjax.ops.memory.state.compute_dtype",
  "attnjax.ops.memory.response.Response": (
    "attnjax.ops.memory.recurrence.ChunkCoefficients"
  ),
  "attnjax.ops.memory.response.products": (
    "attnjax.ops.memory.recurrence.gate_products"
  ),
  "attnjax.ops.memory.response.response": (
    "attnjax.ops.memory.recurrence.chunk_coefficients"
  ),
  "attnjax.ops.memory.sequential.answer": (
    "attnjax.ops.memory.sequential.memory_output"
  ),
  "attnjax.ops.memory.sequential.stepped": (
    "attnjax.ops.memory.sequential._step"
  ),
  "attnjax.ops.memory.whole.visit": (
    "attnjax.ops.memory.chunked._visit_with_one_step"
  ),
  "attnjax.ops.tiles.Layout": "attnjax.ops.tiles.fold.Subscripts",
  "attnjax.ops.tiles.sweep.Layout": "attnjax.ops.tiles.fold.Subscripts",
  "attnjax.parallel.carried.column": "attnjax.parallel.collectives.key_columns",
  "attnjax.parallel.carried.parted": (
    "attnjax.parallel.collectives.split_by_travel"
  ),
  "attnjax.parallel.carried.rejoined": "attnjax.parallel.collectives.join",
  "attnjax.parallel.carried.with_column": (
    "attnjax.parallel.collectives.with_key_columns"
  ),
  "attnjax.parallel.compute.Table": "attnjax.parallel.division.TileCodes",
  "attnjax.parallel.compute.known_table": (
    "attnjax.parallel.division.static_tile_codes"
  ),
  "attnjax.parallel.layouts.Layout": (
    "attnjax.parallel.token_layouts.TokenLayout"
  ),
  "attnjax.parallel.layouts.is_told": (
    "attnjax.parallel.token_layouts.is_concrete"
  ),
  "attnjax.parallel.layouts.order": (
    "attnjax.parallel.token_layouts.token_order"
  ),
  "attnjax.parallel.layouts.runs": (
    "attnjax.parallel.token_layouts.spans_per_shard"
  ),
  "attnjax.parallel.ring.arc": "attnjax.parallel.collectives.shortest_way",
  "attnjax.parallel.token_layouts.runs_per_shard": (
    "attnjax.parallel.token_layouts.spans_per_shard"
  ),
  "attnjax.plan.flops.target_of": "attnjax.plan.costs._custom_call_target",
  "attnjax.plan.gpu_target.target_config": (
    "attnjax.plan.hardware.gpu_target_config"
  ),
  "attnjax.plan.memory.measured": (
    "attnjax.plan.device_memory.memory_of_compiled"
  ),
  "attnjax.plan.memory.refused": "attnjax.plan.device_memory.memory_of_refused",
  "attnjax.plan.kept_bytes": "attnjax.plan.residual_bytes",
  "attnjax.plan.written_flops": "attnjax.plan.jaxpr_flops",
  "attnjax.plan.roofline.wires": "attnjax.plan.roofline.send_bandwidth",
  "attnjax.testing.dense.Form": "attnjax.testing.oracle.StaticOptions",
  "attnjax.testing.draws.integers": "attnjax.testing.problem._integers",
  "attnjax.testing.draws.normal": "attnjax.testing.problem._normal",
  "attnjax.testing.draws.placed": "attnjax.testing.problem._positions",
  "attnjax.testing.draws.random": "attnjax.testing.problem._generator",
  "attnjax.testing.rules.Where": (
    "attnjax.testing.mask_descriptions.Coordinates"
  ),
  "attnjax.testing.rules.meaning": (
    "attnjax.testing.mask_descriptions.visibility"
  ),
  "attnjax.testing.rules.needs": (
    "attnjax.testing.mask_descriptions.captured_arrays"
  ),
  "attnjax.runs.asked": "attnjax.runs.train_and_measure",
  "attnjax.runs.measured": "attnjax.runs.measure_once",
  "attnjax.runs.results.measured": "attnjax.runs.results.measure_once",
  "attnjax.runs.trials.asked": "attnjax.runs.trials.train_and_measure",
  "attnjax.training.Feed": "attnjax.training.GlobalBatches",
  "attnjax.training.FitConfig": "attnjax.runs.FitConfig",
  "attnjax.training.Fitted": "attnjax.runs.Fitted",
  "attnjax.training.MeshConfig": "attnjax.runs.MeshConfig",
  "attnjax.training.TrainConfig": "attnjax.runs.TrainConfig",
  "attnjax.training.digests.problem": (
    "attnjax.training.step_directories.find_damage"
  ),
  "attnjax.training.digests.write": (
    "attnjax.training.step_directories.write_digests"
  ),
  "attnjax.training.evaluation.tried": (
    "attnjax.training.evaluation.check_evaluation"
  ),
  "attnjax.training.feed.Feed": "attnjax.training.GlobalBatches",
  "attnjax.training.feed.own_rows": (
    "attnjax.training.global_batches.process_rows"
  ),
  "attnjax.training.feed.put": "attnjax.training.global_batches.put_batch",
  "attnjax.training.feed.put_beside": (
    "attnjax.training.global_batches.put_batch_like"
  ),
  "attnjax.training.fit": "attnjax.runs.fit",
  "attnjax.training.gathered": "attnjax.training.gather_tree",
  "attnjax.training.leaves.Table": "attnjax.training.flat_state.LeafSpecs",
  "attnjax.training.leaves.assemble": (
    "attnjax.training.flat_state.unflatten_state"
  ),
  "attnjax.training.leaves.difference": (
    "attnjax.training.flat_state.spec_difference"
  ),
  "attnjax.training.leaves.named": "attnjax.training.flat_state.leaves_by_path",
  "attnjax.training.leaves.storable": (
    "attnjax.training.flat_state.flatten_state"
  ),
  "attnjax.training.leaves.table": "attnjax.training.flat_state.leaf_specs",
  # Takes no arguments any more: the sizes are fields of the config.
  "attnjax.training.make_mesh": "attnjax.runs.MeshConfig.make",
  "attnjax.training.partition.gathered": "attnjax.training.gather_tree",
  "attnjax.training.partition.spread": "attnjax.training.shard_tree",
  "attnjax.training.processes.watched": (
    "attnjax.training.processes.exit_when_peer_lost"
  ),
  "attnjax.training.run.Run": "attnjax.training.loop._Run",
  "attnjax.training.spread": "attnjax.training.shard_tree",
  "attnjax.training.train_config.without_machines": "attnjax.runs.what_decides",
  "attnjax.training.what_decides": "attnjax.runs.what_decides",
  "attnjax.training.workdir.alone_in": "attnjax.training.workdir.workdir_lock",
  "attnjax.training.workdir.lacking": (
    "attnjax.training.workdir.missing_ability"
  ),
}
