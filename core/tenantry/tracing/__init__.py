"""Traces: what was done for a sampled request or change, as spans for an OpenTelemetry collector.

Owns what is sampled, whose spans it continues, and how spans leave; for model servers and the operator.
Everything else opens a part of what is traced (`spans.part`), which costs next to nothing where nothing is.
Refuses to hold anything up, and to import OpenTelemetry in any module but `exporting`, which is imported
where traces are on.
"""
