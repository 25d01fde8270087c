"""Folder: TenantModels from a folder of manifests, for one machine.

Owns identities, generations and the settling of files that are being saved. Refuses every decision about a
TenantModel.
"""
