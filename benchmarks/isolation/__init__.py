"""What it costs to run tenants' models in processes of their own: this tree beside an earlier one."""
