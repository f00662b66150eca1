"""Choose which posts people label, exchange them with Label Studio, and turn the answers into data to train on."""
