"""Traces: what a request of a sampled trace did here, as spans for an OpenTelemetry collector.

Owns which requests are sampled, whose spans they continue, and how spans leave. Everything else opens a
part of what is traced (`spans.part`), which costs next to nothing where nothing is. Refuses to hold up a
request, and to import OpenTelemetry in any module but `exporting`, which is imported where traces are on.
"""
