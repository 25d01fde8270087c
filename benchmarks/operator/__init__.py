"""How fast the operator brings thousands of TenantModels to Ready, and one."""
