"""Folder: TenantModels from a folder of manifests, for one machine.

Owns identities, generations, the settling of files that are being saved, and which links are followed.
Refuses every decision about a TenantModel.
"""
